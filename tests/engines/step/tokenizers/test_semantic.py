"""Semantic codes are the reference's, whole, cut and batched."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from bench.plain_tokenizer import PlainSemanticEncoder
from torch.nn import functional as F

from editx.engines.step.audio.whisper_mel import whisper_log_mel
from editx.engines.step.onnx_weights import read_onnx
from editx.engines.step.tokenizers.semantic import PART_SAMPLES, SemanticTokenizer, parts
from editx.engines.step.tokenizers.semantic_network import SemanticConfig, SemanticNetwork, code_count
from editx.engines.step.tokenizers.semantic_onnx import semantic_config, semantic_weights
from editx.errors import LoadFailed
from tests import golden
from tests.engines.step import onnx_writer as write
from tests.engines.step.tokenizers.helpers import (
    TINY_SEMANTIC,
    audio_of,
    encoder_tolerance,
    margins_are_near,
    semantic_config_of,
    semantic_network,
    semantic_of,
    sound,
    tiny_semantic,
)
from tests.golden import Golden

WHOLE = [
    pytest.param(file, marks=[pytest.mark.slow] if semantic_config_of(file).n_audio_state > 512 else [], id=repr(file))
    for file in golden.family("vq06_", holding="encoder_hidden")
]


@pytest.mark.parametrize("file", WHOLE)
def test_whole_clips(file: Golden) -> None:
    tokenizer = semantic_of(file)
    hidden = tokenizer.hidden([whisper_log_mel(audio_of(file), tokenizer.network.config.n_mels)])[0]
    stated = [name for name in file.names if re.fullmatch(r"encoder_hidden(_first\d+)?", name)]
    assert stated
    for name in stated:
        expected = file[name]
        assert name == "encoder_hidden" or name == f"encoder_hidden_first{len(expected)}"
        assert name != "encoder_hidden" or len(hidden) == len(expected)
        assert (hidden[: len(expected)] - expected).abs().max() <= encoder_tolerance(file)
    assert margins_are_near(file, F.normalize(hidden), tokenizer.network.quantizer._codebook.embed)
    assert torch.equal(tokenizer.encode(audio_of(file)), file["codes"])


@pytest.mark.parametrize("file", golden.family("vq06_lengths"), ids=repr)
def test_every_length(file: Golden) -> None:
    tokenizer, x_n = semantic_of(file), audio_of(file)
    lengths = sorted(int(name.removeprefix("codes_")) for name in file.names if name.startswith("codes_"))
    assert lengths
    for length in lengths:
        assert torch.equal(tokenizer.encode(x_n[:length]), file[f"codes_{length}"]), length
    for index, part in enumerate(parts(x_n[: lengths[-1]])):
        mel, tail = whisper_log_mel(part, tokenizer.network.config.n_mels), file[f"mel_part{index}_tail"]
        assert (mel[:, -tail.shape[1] :] - tail).abs().max() <= 1e-4
        hidden = tokenizer.hidden([mel])[0][file[f"positions_part{index}"]]
        assert (hidden - file[f"hidden_part{index}"]).abs().max() <= encoder_tolerance(file)


def test_cuts_are_where_upstream_makes_them() -> None:
    def lengths(samples: int) -> list[int]:
        return [len(part) for part in parts(torch.zeros(samples))]

    assert lengths(479) == []
    assert lengths(480) == [480]
    assert lengths(PART_SAMPLES + 479) == [PART_SAMPLES]
    assert lengths(2 * PART_SAMPLES + 480) == [PART_SAMPLES, PART_SAMPLES, 480]


def test_counts() -> None:
    tokenizer = tiny_semantic()
    for samples in [*range(480, 4000, 157), 16_000]:
        assert len(tokenizer.encode(sound("counts", samples))) == code_count(samples // 160)
    assert [code_count(frames) for frames in (0, 1, 4, 5, 8, 9, 3000)] == [0, 1, 1, 2, 2, 3, 750]


def test_a_batch_is_its_clips() -> None:
    tokenizer = tiny_semantic()
    lengths = (16_000, 16_159, 800, 100, 48_000, 16_000, 7_777, 33_333)
    clips = [sound(f"clip {at}", samples) for at, samples in enumerate(lengths)]
    alone = [tokenizer.encode(clip) for clip in clips]
    assert len({*torch.cat(alone).tolist()}) > 8
    for one, many in zip(alone, tokenizer.encode_batch(clips), strict=True):
        assert torch.equal(one, many)


def test_packing_changes_nothing_but_rounding() -> None:
    packed, unpacked = tiny_semantic(), tiny_semantic(packed=False)
    assert "encoder.blocks.0.mlp.0.weight" not in packed.network.state_dict()
    assert "encoder.blocks.0.mlp.0.weight" in unpacked.network.state_dict()
    x_n = sound("packing", 50_000)
    mel = whisper_log_mel(x_n)
    assert (packed.hidden([mel])[0] - unpacked.hidden([mel])[0]).abs().max() < 2e-5
    assert torch.equal(packed.encode(x_n), unpacked.encode(x_n))


def test_padding_changes_nothing_but_rounding() -> None:
    tokenizer = tiny_semantic()
    mels = [whisper_log_mel(sound(f"pad {samples}", samples)) for samples in (16_000, 800, 5_600, 5_760, 5_920)]
    for mel, together in zip(mels, tokenizer.hidden(mels), strict=True):
        alone = tokenizer.hidden([mel])[0]
        assert alone.shape == together.shape
        assert (alone - together).abs().max() < 1e-5


@pytest.mark.parametrize("frames", [1, 2, 5, 99, 100, 101])
def test_the_network_is_the_plain_one(frames: int) -> None:
    state = semantic_network(TINY_SEMANTIC).state_dict()
    mel = torch.from_numpy(golden.normal("plain", (128, frames)))
    expected = PlainSemanticEncoder(state, TINY_SEMANTIC.n_audio_head).encode(mel)
    found = tiny_semantic().hidden([mel])[0]
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 2e-5


def test_progress_comes_between_parts() -> None:
    seen: list[float] = []
    tiny_semantic().encode(sound("long", 2 * PART_SAMPLES + 16_000), seen.append)
    assert len(seen) == 3
    assert seen == sorted(seen)
    assert 0 == seen[0] < seen[-1] < 1


@pytest.mark.parametrize("file", golden.family("vq06_mini_codes"), ids=repr)
def test_weights_out_of_the_onnx_file(file: Golden) -> None:
    graph = read_onnx(file.beside(f"{file.path.stem.replace('_codes', '')}.onnx"))
    config = semantic_config(graph)
    assert config == semantic_config_of(file)
    state = semantic_weights(graph)
    network = SemanticNetwork(config)
    assert set(state) == set(network.state_dict())
    for name, tensor in state.items():
        assert torch.equal(tensor, golden.weight(name, tuple(tensor.shape), file.salt)), name
        assert tensor.is_contiguous()
    network.load_state_dict(state)
    assert torch.equal(SemanticTokenizer(network).encode(audio_of(file)), file["codes"])


def test_a_graph_without_the_network_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "speech_tokenizer_v1.onnx"
    path.write_bytes(write.model([], [write.tensor("encoders.conv1.weight", np.zeros((2, 2, 3), np.float32))]))
    with pytest.raises(LoadFailed, match=r"speech_tokenizer_v1\.onnx has no initializer 'encoders\.positional"):
        semantic_weights(read_onnx(path))
    path.write_bytes(write.model([], [write.tensor("encoders.conv1.weight", np.zeros(2, np.float32))]))
    with pytest.raises(LoadFailed, match=r"shape \(2,\) where 3 dimensions"):
        semantic_config(read_onnx(path))


def test_published_sizes() -> None:
    with torch.device("meta"):
        state = SemanticNetwork(SemanticConfig()).state_dict()
    assert sum(tensor.numel() for tensor in state.values()) == 130_629_120
    assert state["quantizer._codebook.embed"].shape == (4096, 1280)
    assert "encoder.blocks.5.attn.key.bias" not in state


@pytest.mark.parametrize("wrong", [{"n_audio_head": 7}, {"n_audio_layer": 0}])
def test_a_configuration_that_cannot_be_is_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(LoadFailed, match="semantic tokenizer's"):
        SemanticConfig(**{"n_audio_state": TINY_SEMANTIC.n_audio_state, **wrong})
