"""The published sizes: every count and every key that the specification states."""

from __future__ import annotations

import math

import pytest

from editx.engines.step.decoder.config import DecoderConfig
from editx.engines.step.quantize_layout import quantized_specs
from editx.engines.step.synth.audio_tokenizers import linguistic_shapes
from editx.engines.step.synth.decoder import decoder_yaml, flow_shapes, vocoder_shapes
from editx.engines.step.synth.language_model import language_shapes
from editx.engines.step.synth.sizes import FULL, TINY, Sizes
from editx.engines.step.weights.writer import TensorSpec
from tests import golden


def count(shapes: dict[str, tuple[int, ...]]) -> tuple[int, int]:
    return len(shapes), sum(math.prod(shape) for shape in shapes.values())


def test_the_language_model_is_the_published_one() -> None:
    shapes = language_shapes(FULL.language)
    assert count(shapes) == (291, 3_529_706_496)
    assert shapes["model.embed_tokens.weight"] == shapes["lm_head.weight"] == (74752, 3072)
    assert shapes["model.layers.31.self_attn.k_proj.weight"] == (256, 3072)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (3072, 8192)


def test_the_int4_checkpoint_has_the_published_size() -> None:
    import torch

    plain = [TensorSpec(name, torch.bfloat16, shape) for name, shape in language_shapes(FULL.language).items()]
    stored = [part for spec in plain for part in quantized_specs(spec, "awq", FULL.group)]
    norms = 65 * 3072 * 2
    assert sum(spec.size for spec in stored) == (
        3_070_230_528 // 2 + 47_972_352 + 2 * 74752 * 3072 * 2 + norms + 224 * 16
    )


def test_flow_and_vocoder_are_the_published_ones() -> None:
    assert count(flow_shapes(FULL.flow)) == (605, 153_754_096)
    shapes = vocoder_shapes(FULL.vocoder)
    assert count(shapes) == (328, 20_821_295)
    assert sum(name.endswith("original0") for name in shapes) == 82
    assert shapes["ups.0.parametrizations.weight.original0"] == (512, 1, 1)
    assert shapes["source_downs.0.weight"] == (256, 18, 30)


def test_the_linguistic_encoder_is_the_published_one() -> None:
    shapes = linguistic_shapes(FULL.linguistic)
    assert count(shapes) == (652, 157_975_648)
    assert shapes["encoder.encoders0.0.self_attn.linear_q_k_v.weight"] == (1536, 560)


@pytest.mark.parametrize("sizes", [FULL, TINY], ids=["full", "tiny"])
def test_the_configuration_is_read_as_it_was_meant(sizes: Sizes) -> None:
    read = DecoderConfig.read(decoder_yaml(sizes.flow, sizes.vocoder))
    assert read.flow == sizes.flow
    assert read.vocoder == sizes.vocoder


def test_the_configuration_of_the_published_size_is_the_sample() -> None:
    sample = (golden.OURS / "decoder_cosyvoice_sample.yaml").read_text("utf-8")
    assert DecoderConfig.read(decoder_yaml(FULL.flow, FULL.vocoder)) == DecoderConfig.read(sample)
