"""Rounding to int4 and NF4: the golden layouts byte for byte, and bounds on what rounding may cost."""

from __future__ import annotations

import json
from itertools import pairwise

import pytest
import torch

from editx.engines.step.lm.int4 import dequantize, unpack
from editx.engines.step.quantize import dequantized
from editx.engines.step.quantize_formats import NF4, STATE_BYTES, dynamic_map, quantize_int4, quantize_nf4
from editx.engines.step.quantize_layout import is_quantized, quantized_specs, quantized_tensors
from editx.engines.step.weights.writer import TensorSpec, spec_of
from tests import golden

KEY = "model.layers.0.self_attn.q_proj.weight"


def weights(out: int = 48, width: int = 256, seed: int = 0) -> torch.Tensor:
    return torch.randn(out, width, generator=torch.Generator().manual_seed(seed)).bfloat16()


def projection(found: golden.Golden, ending: str) -> str:
    return next(name for name in found.names if name.endswith(ending)).removesuffix(ending)


@pytest.mark.parametrize("found", golden.family("quant_awq"), ids=repr)
def test_int4_is_what_the_reference_writes(found: golden.Golden) -> None:
    if found.metadata.get("symmetric") == "false":
        pytest.skip("only the symmetric layout is written")
    key = projection(found, "_packed")
    shape = tuple(found[key + "_shape"].tolist())
    weight = golden.weight(key, shape, found.salt).bfloat16()
    group = shape[1] // found[key + "_scale"].shape[1]
    made = quantize_int4(weight, group)
    assert torch.equal(made["_scale"], found[key + "_scale"])
    assert torch.equal(made["_packed"], found[key + "_packed"])
    assert torch.equal(made["_shape"], found[key + "_shape"])
    assert torch.equal(dequantize(made["_packed"], made["_scale"]), found["dequantized"])


@pytest.mark.parametrize("found", golden.family("quant_bnb"), ids=repr)
def test_nf4_is_what_the_reference_writes(found: golden.Golden) -> None:
    key = projection(found, ".absmax")
    state = json.loads(bytes(found[f"{key}.quant_state.bitsandbytes__nf4"].tolist()))
    weight = golden.weight(key, tuple(state["shape"]), found.salt).bfloat16()
    made = quantize_nf4(weight)
    assert torch.equal(made[""], found[key])
    for suffix in (".quant_map", ".nested_quant_map", ".nested_absmax"):
        assert torch.equal(made[suffix], found[key + suffix]), suffix
    assert json.loads(bytes(made[".quant_state.bitsandbytes__nf4"].tolist())) == state
    # The reference finds the nearest code with less than full precision, so near ties may fall to either side.
    codes, theirs = made[".absmax"].int(), found[key + ".absmax"].int()
    assert (codes - theirs).abs().max() <= 1
    values = made[".nested_quant_map"]
    apart = (values[codes] - values[theirs]).abs()
    factors = weight.float().view(-1, 64).abs().amax(1) - state["nested_offset"]
    unit = factors / made[".nested_absmax"].repeat_interleave(256)[: len(factors)]
    middle = (values[codes] + values[theirs]) / 2
    assert ((unit - middle).abs()[apart > 0] < 1e-4).all()


def test_int4_rounds_to_the_nearest_of_sixteen() -> None:
    weight = weights()
    parts = quantize_int4(weight, 32)
    off = (dequantize(parts["_packed"], parts["_scale"]).float() - weight.float()).abs()
    step = parts["_scale"].float().repeat_interleave(32, 1)
    assert (off <= 0.56 * step).all()
    assert float(off.square().mean().sqrt() / weight.float().std()) < 0.12
    assert len(unpack(parts["_packed"]).unique()) == 16


def test_nf4_rounds_to_the_nearest_of_sixteen() -> None:
    weight = weights()
    parts = {KEY + suffix: part for suffix, part in quantize_nf4(weight).items()}
    off = dequantized(KEY, parts, "bnb").float() - weight.float()
    assert float(off.square().mean().sqrt() / weight.float().std()) < 0.1
    largest = weight.float().view(-1, 64).abs().amax(1)
    gap = max(b - a for a, b in pairwise(NF4)) / 2
    assert (off.view(-1, 64).abs().amax(1) <= (gap + 0.06) * largest).all()


@pytest.mark.parametrize("variant", ["awq", "bnb"])
def test_zeros_stay_zeros(variant: str) -> None:
    weight = weights()
    weight[:8] = 0
    parts = quantized_tensors(KEY, weight, variant, 32)
    back = dequantized(KEY, parts, variant)
    assert back.isfinite().all()
    assert not back[:8].any()
    assert dequantized(KEY, quantized_tensors(KEY, torch.zeros_like(weight), variant, 32), variant).eq(0).all()


@pytest.mark.parametrize("variant", ["awq", "bnb"])
@pytest.mark.parametrize("shape", [(64, 512), (8, 64), (200, 128)])
def test_what_is_announced_is_what_comes(variant: str, shape: tuple[int, int]) -> None:
    announced = quantized_specs(TensorSpec(KEY, torch.bfloat16, shape), variant, 32)
    made = quantized_tensors(KEY, weights(*shape), variant, 32)
    assert announced == [spec_of(name, part) for name, part in made.items()]


def test_only_projections_are_rounded() -> None:
    assert is_quantized("model.layers.31.mlp.down_proj.weight")
    for key in (
        "lm_head.weight",
        "model.embed_tokens.weight",
        "model.norm.weight",
        "model.layers.0.input_layernorm.weight",
    ):
        assert not is_quantized(key)
        spec = TensorSpec(key, torch.bfloat16, (4, 4))
        assert quantized_specs(spec, "awq", 128) == [spec]
        assert list(quantized_tensors(key, weights(4, 4), "awq", 128)) == [key]


def test_the_state_fits_its_room_whatever_the_numbers() -> None:
    for scale in (1e-30, 1e-3, 1.2345678e30):
        state = quantize_nf4((weights(64, 64).float() * scale).bfloat16())[".quant_state.bitsandbytes__nf4"]
        assert state.shape == (STATE_BYTES,)
        assert json.loads(bytes(state.tolist()))["blocksize"] == 64


def test_the_nested_type_is_symmetric_but_for_its_end() -> None:
    values = dynamic_map()
    assert len(values) == len(values.unique()) == 256
    assert torch.equal(values[:127], -values[128:255].flip(0))
    assert float(values[-1]) == 1
