"""The `.pt` parts: converted once, checked on reuse, made again when damaged, never run."""

from __future__ import annotations

import logging
import os
import pickle
import shutil
import zipfile
from collections import OrderedDict
from pathlib import Path

import pytest
import torch

from editx.engines.step.weights.header import read_header
from editx.engines.step.weights.pickled import converted, load_pickled_into, read_state_dict
from editx.errors import LoadFailed


def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shared = torch.randn(6, 8, generator=generator)
    return OrderedDict(
        {
            "encoder.weight": torch.randn(16, 24, generator=generator),
            "encoder.view": shared[2:4, ::2],
            "encoder.count": torch.tensor(5),
            "decoder.weight": torch.randn(3, generator=generator),
        }
    )


@pytest.fixture
def source(tmp_path: Path) -> Path:
    torch.save(weights(), tmp_path / "flow.pt")
    return tmp_path / "flow.pt"


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def load(source: Path, cache: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    parameters = {name: torch.full_like(tensor, 7) for name, tensor in weights().items() if name.startswith(prefix)}
    load_pickled_into(parameters, source, cache, prefix=prefix)
    return parameters


def right(found: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(tensor, weights()[name]) for name, tensor in found.items())


def only(cache: Path) -> Path:
    (path,) = cache.iterdir()
    return path


def test_a_converted_copy_is_made_once(source: Path, cache: Path) -> None:
    assert right(load(source, cache))
    made = only(cache).stat()
    assert right(load(source, cache))
    assert only(cache).stat().st_ino == made.st_ino


def test_only_the_wanted_part_is_kept(source: Path, cache: Path) -> None:
    found = load(source, cache, "encoder.")
    assert right(found)
    assert len(found) == 3
    assert set(read_header(only(cache)).tensors) == set(found)


@pytest.mark.parametrize("key", ["state_dict", "model"])
def test_a_wrapped_state_dict_is_unwrapped(tmp_path: Path, cache: Path, key: str) -> None:
    torch.save({key: weights(), "epoch": 3}, tmp_path / "model.pt")
    assert right(load(tmp_path / "model.pt", cache))


def test_a_changed_source_is_converted_again(source: Path, cache: Path) -> None:
    load(source, cache)
    changed = {**weights(), "decoder.weight": torch.ones(3)}
    before = source.stat()
    torch.save(changed, source)
    assert source.stat().st_size == before.st_size
    parameters = {name: torch.zeros_like(tensor) for name, tensor in changed.items()}
    load_pickled_into(parameters, source, cache)
    assert torch.equal(parameters["decoder.weight"], torch.ones(3))


def test_a_touched_source_is_recognised_by_its_content(source: Path, cache: Path) -> None:
    load(source, cache)
    made = only(cache).stat()
    os.utime(source, ns=(1, 1))
    assert right(load(source, cache))
    assert only(cache).stat().st_ino == made.st_ino
    assert only(cache).stat().st_mtime_ns == 1


def test_any_flipped_bit_of_the_copy_is_noticed(source: Path, cache: Path, caplog: pytest.LogCaptureFixture) -> None:
    load(source, cache)
    copy = only(cache)
    whole, stamp = copy.read_bytes(), source.stat().st_mtime_ns
    places = [*range(0, len(whole), 97), len(whole) - 1]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 16
        copy.write_bytes(flipped)
        os.utime(copy, ns=(stamp, stamp))
        with caplog.at_level(logging.WARNING):
            caplog.clear()
            assert right(load(source, cache)), place
        assert "made again" in caplog.text, place
        assert only(cache).read_bytes() == whole


@pytest.mark.parametrize("kept", [0, 5, 300, -1])
def test_a_truncated_copy_is_made_again(source: Path, cache: Path, kept: int) -> None:
    load(source, cache)
    copy = only(cache)
    copy.write_bytes(copy.read_bytes()[:kept])
    assert right(load(source, cache))


def test_copies_of_equal_names_do_not_meet(source: Path, cache: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    other = tmp_path / "other" / "flow.pt"
    shutil.copy2(source, other)
    load(source, cache)
    load(other, cache)
    assert len(list(cache.iterdir())) == 2


class _Payload:
    def __init__(self, witness: Path) -> None:
        self.witness = witness

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.witness),)


def test_a_pickle_that_runs_code_is_refused_and_runs_nothing(tmp_path: Path, cache: Path) -> None:
    witness = tmp_path / "ran"
    torch.save({"encoder.weight": torch.zeros(2), "x": _Payload(witness)}, tmp_path / "evil.pt")
    with pytest.raises(LoadFailed, match=r"evil\.pt is refused.*asks to run code"):
        converted(tmp_path / "evil.pt", cache)
    assert not witness.exists()
    assert not cache.exists()
    torch.load(tmp_path / "evil.pt", weights_only=False)
    assert witness.exists(), "the payload of this test does nothing"


def test_a_bare_pickle_runs_nothing_either(tmp_path: Path) -> None:
    witness = tmp_path / "ran"
    (tmp_path / "bare.pt").write_bytes(pickle.dumps(_Payload(witness), protocol=2))
    with pytest.raises(LoadFailed, match=r"bare\.pt"):
        read_state_dict(tmp_path / "bare.pt")
    assert not witness.exists()


def test_a_pickle_inside_the_archive_runs_nothing(tmp_path: Path, source: Path) -> None:
    witness = tmp_path / "ran"
    with zipfile.ZipFile(source) as whole, zipfile.ZipFile(tmp_path / "swapped.pt", "w") as swapped:
        for entry in whole.infolist():
            data = whole.read(entry)
            swapped.writestr(
                entry, pickle.dumps(_Payload(witness), protocol=2) if entry.filename.endswith("data.pkl") else data
            )
    with pytest.raises(LoadFailed, match=r"swapped\.pt"):
        read_state_dict(tmp_path / "swapped.pt")
    assert not witness.exists()


@pytest.mark.parametrize("kept", [0, 10, 500, -200, -1])
def test_a_truncated_source_is_an_error_that_names_it(source: Path, cache: Path, kept: int) -> None:
    source.write_bytes(source.read_bytes()[:kept])
    with pytest.raises(LoadFailed, match=r"flow\.pt.*editx pull"):
        converted(source, cache)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([1, 2], "holds a list"),
        ({}, "no tensor"),
        ({"epoch": 3}, "no tensor"),
        ({"encoder.w": torch.zeros(2, dtype=torch.complex64)}, "complex64"),
        ({"encoder.w": torch.eye(2).to_sparse()}, "sparse"),
    ],
)
def test_what_is_no_state_dict_is_refused(tmp_path: Path, content: object, said: str) -> None:
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(LoadFailed, match=said):
        read_state_dict(tmp_path / "odd.pt")


def test_a_missing_source_and_a_pointer_say_so(tmp_path: Path, cache: Path) -> None:
    with pytest.raises(LoadFailed, match="missing"):
        converted(tmp_path / "flow.pt", cache)
    (tmp_path / "flow.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7\n")
    with pytest.raises(LoadFailed, match="git-LFS pointer"):
        converted(tmp_path / "flow.pt", cache)


def test_a_cache_that_cannot_be_written_says_where_and_how_much(source: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(LoadFailed, match=r"cannot be written to .*MB free"):
        converted(source, tmp_path / "file" / "cache")


def test_a_wrong_shape_names_the_key(source: Path, cache: Path) -> None:
    parameters = {name: torch.zeros_like(tensor) for name, tensor in weights().items()}
    parameters["decoder.weight"] = torch.zeros(4)
    with pytest.raises(LoadFailed, match=r"'decoder\.weight' with the shape \(3,\)"):
        load_pickled_into(parameters, source, cache)
