"""Reading tensors into parameters: every path, every difference, every kind of damage."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from editx.cancellation import Cancellation
from editx.engines.step.weights.header import open_checkpoint, open_files, read_header
from editx.engines.step.weights.reader import PIECE_BYTES, load_into
from editx.engines.step.weights.writer import SafetensorsWriter, TensorSpec, write_safetensors
from editx.errors import Cancelled, LoadFailed


def some_tensors() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(1)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    return {
        "matrix": normal(33, 17),
        "half": normal(1000, 3).to(torch.bfloat16),
        "scalar": normal(),
        "empty": normal(0, 4),
        "ids": torch.arange(7),
        "bytes": torch.arange(253, dtype=torch.uint8).reshape(-1, 1),
        "large": normal(3 * PIECE_BYTES // 4 + 5),
    }


def zeros_like(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name: torch.full_like(tensor, 99) for name, tensor in tensors.items()}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    save_file(some_tensors(), tmp_path / "model.safetensors", {"format": "pt"})
    return tmp_path / "model.safetensors"


@pytest.mark.parametrize("direct", [True, False])
@pytest.mark.parametrize("threads", [1, 2, 4])
def test_every_tensor_arrives_unchanged(file: Path, threads: int, direct: bool) -> None:
    parameters = zeros_like(some_tensors())
    load_into(parameters, open_files([file]), threads=threads, direct=direct)
    assert equal(parameters, some_tensors())


def test_numbers_are_cast_and_views_are_filled(tmp_path: Path) -> None:
    weights = {"q": torch.randn(8, 6), "k": torch.randn(4, 6).to(torch.bfloat16), "turned": torch.randn(5, 7)}
    save_file(weights, tmp_path / "w.safetensors")
    fused, turned = torch.zeros(12, 6, dtype=torch.bfloat16), torch.zeros(7, 5)
    load_into(
        {"layer.q": fused[:8], "layer.k": fused[8:], "layer.turned": turned.t()},
        open_files([tmp_path / "w.safetensors"]),
        mapping=lambda name: f"layer.{name}",
    )
    assert torch.equal(fused, torch.cat([weights["q"].to(torch.bfloat16), weights["k"]]))
    assert torch.equal(turned, weights["turned"].t())


def test_parameters_of_a_module_are_filled_in_place(tmp_path: Path) -> None:
    module = torch.nn.Linear(3, 4)
    weights = {"weight": torch.randn(4, 3), "bias": torch.randn(4)}
    save_file(weights, tmp_path / "w.safetensors")
    load_into(dict(module.named_parameters()), open_files([tmp_path / "w.safetensors"]))
    assert torch.equal(module.weight, weights["weight"])
    assert torch.equal(module.bias, weights["bias"])


def test_ignored_tensors_may_be_there(file: Path) -> None:
    parameters = zeros_like(some_tensors())
    del parameters["large"]
    load_into(parameters, open_files([file]), ignore=lambda name: name == "large")
    assert torch.equal(parameters["matrix"], some_tensors()["matrix"])


def test_a_missing_key_is_named_with_its_file(file: Path) -> None:
    parameters = {**zeros_like(some_tensors()), "lm_head.weight": torch.zeros(2)}
    with pytest.raises(LoadFailed, match=r"model\.safetensors.*1 missing: 'lm_head\.weight'.*editx pull"):
        load_into(parameters, open_files([file]))


def test_an_unexpected_key_is_named(file: Path) -> None:
    parameters = zeros_like(some_tensors())
    del parameters["ids"]
    with pytest.raises(LoadFailed, match="1 unexpected: 'ids'"):
        load_into(parameters, open_files([file]))


def test_a_wrong_shape_is_named_with_both_shapes(file: Path) -> None:
    parameters = {**zeros_like(some_tensors()), "matrix": torch.zeros(17, 33)}
    with pytest.raises(LoadFailed, match=r"'matrix' with the shape \(33, 17\).*\(17, 33\)"):
        load_into(parameters, open_files([file]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32])
def test_whole_numbers_are_never_cast(file: Path, dtype: torch.dtype) -> None:
    parameters = {**zeros_like(some_tensors()), "ids": torch.zeros(7, dtype=dtype)}
    with pytest.raises(LoadFailed, match=r"'ids' as torch\.int64"):
        load_into(parameters, open_files([file]))


def test_two_names_of_one_weight_are_refused(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(2), "b": torch.zeros(2)}, tmp_path / "w.safetensors")
    with pytest.raises(LoadFailed, match="the same weight"):
        load_into({"x": torch.zeros(2)}, open_files([tmp_path / "w.safetensors"]), mapping=lambda _: "x")


def test_progress_goes_up_to_everything_on_the_callers_thread(file: Path) -> None:
    import threading

    seen: list[tuple[int, int, threading.Thread]] = []
    load_into(
        zeros_like(some_tensors()),
        open_files([file]),
        report=lambda done, total: seen.append((done, total, threading.current_thread())),
    )
    total = sum(tensor.nbytes for tensor in some_tensors().values())
    assert [done for done, _, _ in seen] == sorted(done for done, _, _ in seen)
    assert seen[-1][:2] == (total, total)
    assert {thread for _, _, thread in seen} == {threading.current_thread()}


def test_cancelling_ends_it_early_and_leaves_no_thread(file: Path) -> None:
    import threading

    cancellation = Cancellation()
    seen: list[int] = []

    def report(done: int, total: int) -> None:
        seen.append(done)
        cancellation.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        load_into(zeros_like(some_tensors()), open_files([file]), threads=2, report=report, cancellation=cancellation)
    assert seen
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("weights-")]


def test_an_error_of_the_reporter_reaches_the_caller(file: Path) -> None:
    def report(done: int, total: int) -> None:
        raise ConnectionResetError("nobody listens")

    with pytest.raises(ConnectionResetError):
        load_into(zeros_like(some_tensors()), open_files([file]), report=report)


def test_a_file_that_shrinks_after_its_header_was_read_is_an_error(file: Path) -> None:
    tensors = open_files([file])
    with file.open("r+b") as shrunk:
        shrunk.truncate(file.stat().st_size - 1000)
    with pytest.raises(LoadFailed, match=r"ends within .*editx pull"):
        load_into(zeros_like(some_tensors()), tensors)


@pytest.mark.parametrize("kept", [0, 4, 8, 100, -1])
def test_a_truncated_file_is_an_error_that_names_it(file: Path, kept: int) -> None:
    data = file.read_bytes()
    file.write_bytes(data[:kept])
    with pytest.raises(LoadFailed, match=r"model\.safetensors is not a whole safetensors file.*editx pull"):
        read_header(file)


def test_bytes_after_the_end_are_an_error(file: Path) -> None:
    file.write_bytes(file.read_bytes() + b"\0")
    with pytest.raises(LoadFailed, match="its header describes"):
        read_header(file)


def test_no_flipped_bit_of_a_header_loads_other_weights(tmp_path: Path) -> None:
    """Every single flip is an error, or is outside of what decides where bytes go."""
    weights = {"a.weight": torch.randn(4, 2), "b.bias": torch.randn(3).to(torch.bfloat16)}
    path = tmp_path / "model.safetensors"
    save_file(weights, path)
    whole = path.read_bytes()
    length = struct.unpack("<Q", whole[:8])[0]
    refused = 0
    for bit in range((8 + length) * 8):
        flipped = bytearray(whole)
        flipped[bit // 8] ^= 1 << bit % 8
        path.write_bytes(flipped)
        parameters = zeros_like(weights)
        try:
            load_into(parameters, open_files([path]), threads=1)
        except LoadFailed as error:
            refused += "model.safetensors" in str(error)
        else:
            assert equal(parameters, weights), f"bit {bit} changed what was loaded"
    assert refused > length * 6


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"dtype": "F32", "shape": [2], "data_offsets": [0, 4]}, "does not fill"),
        ({"dtype": "F32", "shape": [-1], "data_offsets": [0, 8]}, "shape"),
        ({"dtype": "F32", "shape": [True, 2], "data_offsets": [0, 8]}, "shape"),
        ({"dtype": "F32", "shape": [1] * 17 + [2], "data_offsets": [0, 8]}, "shape"),
        ({"dtype": "C64", "shape": [1], "data_offsets": [0, 8]}, "C64"),
        ({"dtype": ["F32"], "shape": [2], "data_offsets": [0, 8]}, "data type"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [8, 16]}, "begin at"),
        ({"dtype": "F32", "shape": [2], "data_offsets": [0]}, "lacks"),
        ({"dtype": "F32", "shape": [2]}, "lacks"),
        (7, "lacks"),
    ],
)
def test_an_entry_that_makes_no_sense_is_refused(tmp_path: Path, entry: object, said: str) -> None:
    text = json.dumps({"x": entry}).encode()
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(8))
    with pytest.raises(LoadFailed, match=said):
        read_header(path)


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b"\xff\xfe",
        b'{"__metadata__": 3}',
        b"[" * 100_000,
        b'{"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]},"x":{"dtype":"F32","shape":[0],"data_offsets":[0,0]}}',
    ],
)
def test_a_header_that_is_none_is_refused(tmp_path: Path, text: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text)
    with pytest.raises(LoadFailed, match="not a whole safetensors file"):
        read_header(path)


def test_a_pointer_is_told_from_a_damaged_file(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    with pytest.raises(LoadFailed, match="git-LFS pointer"):
        read_header(path)


def test_shards_are_found_by_index_by_name_or_alone(tmp_path: Path) -> None:
    one, two = {"a": torch.randn(3)}, {"b": torch.randn(2)}
    for folder in ("index", "glob", "single"):
        (tmp_path / folder).mkdir()
    for folder in ("index", "glob"):
        save_file(one, tmp_path / folder / "model-00001.safetensors")
        save_file(two, tmp_path / folder / "model-00002.safetensors")
    save_file({**one, **two}, tmp_path / "single" / "model.safetensors")
    save_file({"stray": torch.zeros(1)}, tmp_path / "index" / "model-old.safetensors")
    index = {"weight_map": {"a": "model-00001.safetensors", "b": "model-00002.safetensors"}}
    (tmp_path / "index" / "model.safetensors.index.json").write_text(json.dumps(index))
    for folder in ("index", "glob", "single"):
        parameters = zeros_like({**one, **two})
        load_into(parameters, open_checkpoint(tmp_path / folder))
        assert equal(parameters, {**one, **two})


@pytest.mark.parametrize(
    ("index", "said"),
    [
        ("{", "not JSON"),
        ("[]", "no weight_map"),
        ('{"weight_map": {}}', "no weight_map"),
        ('{"weight_map": {"a": "../model.safetensors"}}', "names no safetensors file beside it"),
        ('{"weight_map": {"a": "weights.bin"}}', "names no safetensors file beside it"),
        ('{"weight_map": {"a": "gone.safetensors"}}', "gone.safetensors cannot be read"),
        ('{"weight_map": {"c": "model.safetensors"}}', "does not hold 'c'"),
        ('{"weight_map": {"a": "other.safetensors", "b": "model.safetensors"}}', "puts into"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path: Path, index: str, said: str) -> None:
    save_file({"a": torch.zeros(2)}, tmp_path / "model.safetensors")
    save_file({"b": torch.zeros(2)}, tmp_path / "other.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text(index)
    with pytest.raises(LoadFailed, match=said):
        open_checkpoint(tmp_path)


def test_one_name_in_two_shards_is_refused(tmp_path: Path) -> None:
    for number in (1, 2):
        save_file({"a": torch.zeros(2)}, tmp_path / f"model-0000{number}.safetensors")
    with pytest.raises(LoadFailed, match="both hold 'a'"):
        open_checkpoint(tmp_path)


def test_what_we_write_others_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    write_safetensors(tmp_path / "w.safetensors", some_tensors(), {"format": "pt"})
    assert equal(load_file(tmp_path / "w.safetensors"), some_tensors())


def test_a_file_that_was_not_finished_never_appears(tmp_path: Path) -> None:
    specs = [TensorSpec("a", torch.float32, (2,)), TensorSpec("b", torch.float32, (2,))]
    with (
        pytest.raises(ValueError, match="lacks data of b"),
        SafetensorsWriter(tmp_path / "w.safetensors", specs) as writer,
    ):
        writer.write("a", torch.zeros(2))
    with (
        pytest.raises(ValueError, match="not what is left to write"),
        SafetensorsWriter(tmp_path / "w.safetensors", specs) as writer,
    ):
        writer.write("b", torch.zeros(3))
    assert not list(tmp_path.iterdir())
