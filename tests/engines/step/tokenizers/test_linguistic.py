"""Linguistic codes are the streaming reference's, from one pass."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bench.plain_tokenizer import PlainLinguisticEncoder

from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer, read_centroids
from editx.engines.step.tokenizers.linguistic_features import code_count, linguistic_features, read_cmvn
from editx.engines.step.tokenizers.sanm import LinguisticConfig, LinguisticNetwork
from editx.errors import LoadFailed
from tests import golden
from tests.engines.step.tokenizers.helpers import (
    TINY_LINGUISTIC,
    audio_of,
    cmvn_of,
    encoder_tolerance,
    flat_cmvn,
    linguistic_network,
    linguistic_of,
    margins_are_near,
    rule,
    sound,
    tiny_linguistic,
)
from tests.golden import Golden

BLOCKS = [
    pytest.param(file, marks=[pytest.mark.slow] if file.config["num_blocks"] > 8 else [], id=repr(file))
    for file in golden.family("vq02_blocks")
]


@pytest.mark.parametrize("file", BLOCKS)
def test_every_layer_count(file: Golden) -> None:
    tokenizer = linguistic_of(file)
    features = linguistic_features(audio_of(file), cmvn_of(file))
    if "features" in file:
        assert (features - file["features"]).abs().max() <= 5e-3
    hidden = tokenizer.hidden([features])
    assert hidden.shape == file["encoder_out"].shape
    assert (hidden - file["encoder_out"]).abs().max() <= encoder_tolerance(file)
    assert margins_are_near(file, hidden, rule(file.config["kmeans"], file.salt))
    assert torch.equal(tokenizer.encode(audio_of(file)), file["codes"])
    chunks = file["chunk_frames"].tolist()
    assert sum(chunks) == len(features)
    assert all(rows == file.config["chunk_size"][1] for rows in chunks[:-1])


@pytest.mark.parametrize("file", golden.family("vq02_", holding="cmvn"), ids=repr)
def test_the_numbers_of_a_cmvn_file(file: Golden) -> None:
    path = file.path.with_name(file.metadata.get("am_mvn", "am.mvn"))
    if not path.exists():
        pytest.skip(f"{path.name} is not beside {file.path.name}")
    cmvn = read_cmvn(path)
    assert torch.equal(torch.stack([cmvn.shift, cmvn.scale]), file["cmvn"])


@pytest.mark.parametrize("file", golden.family("vq02_lengths"), ids=repr)
def test_every_length(file: Golden) -> None:
    tokenizer, x_n = linguistic_of(file), audio_of(file)
    lengths = [int(name.removeprefix("codes_")) for name in file.names if name.startswith("codes_")]
    assert lengths
    for length in lengths:
        expected = file[f"codes_{length}"]
        assert code_count(length) == len(expected), length
        assert torch.equal(tokenizer.encode(x_n[:length]), expected), length


@pytest.mark.parametrize("file", golden.family("vq02_lengths"), ids=repr)
def test_every_length_in_one_batch(file: Golden) -> None:
    lengths = [int(name.removeprefix("codes_")) for name in file.names if name.startswith("codes_")]
    x_n = audio_of(file)
    codes = linguistic_of(file).encode_batch([x_n[:length] for length in lengths])
    for length, found in zip(lengths, codes, strict=True):
        assert torch.equal(found, file[f"codes_{length}"]), length


def test_counts_follow_the_sound() -> None:
    """For every length: the closed form grows by at most one, and rows, codes and formula agree."""
    counts = [code_count(samples) for samples in range(20_000)]
    steps = np.diff(counts)
    assert set(steps.tolist()) == {0, 1}
    assert counts[879] == 0
    assert counts[880] == 1
    cmvn = flat_cmvn()
    x_n = sound("counts", 20_000)
    for samples in [*range(0, 20_000, 331), *(3840 * m + d for m in (1, 2, 4) for d in (-1, 0, 1))]:
        assert linguistic_features(x_n[:samples], cmvn).shape == (counts[samples], 560)


@pytest.mark.parametrize("rows", [*range(1, 26), 57])
def test_one_pass_is_chunk_by_chunk(rows: int) -> None:
    """However many rows, all chunks at once give what the plain streaming encoder gives."""
    tokenizer = tiny_linguistic()
    features = torch.from_numpy(golden.normal("rows", (rows, 560)))
    state = linguistic_network(TINY_LINGUISTIC).state_dict()
    plain = PlainLinguisticEncoder(state, TINY_LINGUISTIC.attention_heads)
    assert (tokenizer.hidden([features]) - plain.encode(features)).abs().max() < 2e-5


def test_packing_changes_nothing_but_rounding() -> None:
    packed, unpacked = tiny_linguistic(), tiny_linguistic(packed=False)
    assert "encoder.encoders.0.feed_forward.w_1.weight" not in packed.network.state_dict()
    assert "encoder.encoders.0.feed_forward.w_1.weight" in unpacked.network.state_dict()
    features = torch.from_numpy(golden.normal("packing", (40, 560)))
    assert (packed.hidden([features]) - unpacked.hidden([features])).abs().max() < 2e-5
    x_n = sound("packing", 50_000)
    assert torch.equal(packed.encode(x_n), unpacked.encode(x_n))


def test_a_batch_is_its_clips() -> None:
    tokenizer = tiny_linguistic()
    clips = [sound(f"clip {samples}", samples) for samples in (30_000, 500, 3840, 9000, 880, 17_231)]
    alone = [tokenizer.encode(clip) for clip in clips]
    assert [len(codes) for codes in alone] == [code_count(len(clip)) for clip in clips]
    assert len({*torch.cat(alone).tolist()}) > 8
    for one, many in zip(alone, tokenizer.encode_batch(clips), strict=True):
        assert torch.equal(one, many)


def test_a_batch_of_nothing() -> None:
    assert [codes.shape for codes in tiny_linguistic().encode_batch([torch.zeros(10), torch.zeros(0)])] == [(0,), (0,)]


def test_progress_comes_between_layers_and_can_stop_the_work() -> None:
    seen: list[float] = []
    tiny_linguistic().encode(sound("progress", 8000), seen.append)
    assert len(seen) == TINY_LINGUISTIC.num_blocks
    assert seen == sorted(seen)
    assert 0 <= seen[0] <= seen[-1] < 1

    def stop(done: float) -> None:
        if done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_linguistic().encode(sound("progress", 8000), stop)


def test_published_keys() -> None:
    """652 keys and 158 million parameters, as spec 30 §5.3 lists them."""
    with torch.device("meta"):
        state = LinguisticNetwork(LinguisticConfig()).state_dict()
    assert len(state) == 652
    assert sum(tensor.numel() for tensor in state.values()) == 157_975_648
    assert state["encoder.encoders0.0.self_attn.linear_q_k_v.weight"].shape == (1536, 560)
    assert state["encoder.encoders.48.self_attn.fsmn_block.weight"].shape == (512, 1, 11)
    assert state["encoder.encoders.0.feed_forward.w_2.weight"].shape == (512, 2048)
    assert state["encoder.after_norm.bias"].shape == (512,)


@pytest.mark.parametrize("wrong", [{"num_blocks": 0}, {"attention_heads": 3}, {"kernel_size": 4}, {"input_size": "x"}])
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(LoadFailed, match=next(iter(wrong))):
        LinguisticConfig.from_mapping({"output_size": 512, "chunk_size": [0, 4, 5], **wrong})


def vector(mark: str, values: str) -> str:
    return f"{mark} 560 560\n<LearnRateCoef> 0 [ {values} ]\n"


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("", "0 finite numbers after <AddShift>"),
        (vector("<AddShift>", "1 " * 560), "0 finite numbers after <Rescale>"),
        (vector("<AddShift>", "1 " * 559), "559 finite numbers after <AddShift>"),
        (vector("<AddShift>", "1 " * 559 + "nan"), "559 finite numbers"),
        (vector("<AddShift>", "x " * 560), "a word among the numbers"),
    ],
)
def test_a_broken_cmvn_is_refused(tmp_path: Path, text: str, because: str) -> None:
    path = tmp_path / "am.mvn"
    path.write_text(text)
    with pytest.raises(LoadFailed, match=because):
        read_cmvn(path)
    with pytest.raises(LoadFailed, match=r"gone\.mvn cannot be read"):
        read_cmvn(tmp_path / "gone.mvn")


def test_centroids_are_read_and_broken_ones_refused(tmp_path: Path) -> None:
    path = tmp_path / "linguistic_tokenizer.npy"
    centroids = golden.normal("centroids", (6, 32))
    np.save(path, centroids)
    assert np.array_equal(read_centroids(path).numpy(), centroids)
    np.save(path, np.asfortranarray(centroids))
    assert np.array_equal(read_centroids(path).numpy(), centroids)
    whole = path.read_bytes()
    wrong = [
        whole[:-1],
        whole[:40],
        whole.replace(b"(6, 32)", b"(9**9,32)"),
        whole.replace(b"(6, 32), ", b"(6, 10**15),"),
        b"",
        b"PK\x03\x04",
        *(_saved(tmp_path, array) for array in (centroids.astype(np.float64), centroids[0], centroids * np.inf)),
        _saved(tmp_path, np.array([{}], object)),
    ]
    for content in wrong:
        path.write_bytes(content)
        with pytest.raises(LoadFailed, match=r"linguistic_tokenizer\.npy"):
            read_centroids(path)


def _saved(tmp_path: Path, array: np.typing.NDArray[np.generic]) -> bytes:
    np.save(tmp_path / "other.npy", array, allow_pickle=True)
    return (tmp_path / "other.npy").read_bytes()


def test_centroids_of_another_width_are_refused() -> None:
    with pytest.raises(LoadFailed, match="centroids are 31 wide"):
        LinguisticTokenizer(tiny_linguistic().network, flat_cmvn(), torch.zeros(5, 31))
