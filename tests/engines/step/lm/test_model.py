"""The decoder against the reference, and against itself with every optimisation off."""

from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
import torch
from bench.plain_lm import PlainLayer, PlainSizes

from editx.engines.step.lm.attention import slopes
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1, checkpoint_mapping, chunk_size, prefill
from editx.engines.step.lm.switches import Switches
from tests import golden
from tests.engines.step.lm import small

CASES = golden.family("lm_step1")
ATOL = 1e-4
"""Spec 10 §10; measured 7e-6."""


def rounding(case: golden.Golden) -> float:
    """How far two ways to compute one thing in fp32 may be apart: 1e-5 (spec 10 §10) in the 4 layers that this was
    stated of, and in proportion with more; measured 1.4e-5 in 12."""
    return 1e-5 * max(1.0, LanguageModelConfig.parse(case.config).layers / 4)


def golden_model(case: golden.Golden, **options: object) -> Step1:
    config = LanguageModelConfig.parse(case.config)
    tokens = case["input_ids"].shape[1] + len(case["decode_input_ids"])
    return small.model(config, salt=case.salt, max_tokens=tokens, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module", params=CASES, ids=repr)
def case(request: pytest.FixtureRequest) -> golden.Golden:
    found: golden.Golden = request.param
    return found


@pytest.fixture(scope="module")
def model(case: golden.Golden) -> Step1:
    return golden_model(case)


def test_slopes(case: golden.Golden) -> None:
    torch.testing.assert_close(torch.tensor(slopes(len(case["alibi_slopes"]))), case["alibi_slopes"])


@torch.inference_mode()
def test_prompt_logits(case: golden.Golden, model: Step1) -> None:
    ids = case["input_ids"][0]
    logits = model.logits(prefill(model, ids, model.new_cache(1), 0))
    torch.testing.assert_close(logits, case["prompt_logits"], rtol=0, atol=ATOL)


@torch.inference_mode()
def test_hidden_states(case: golden.Golden, model: Step1) -> None:
    ids = case["input_ids"][0]
    seen: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _module, _inputs, output: seen.append(output[0, -1]))
        for layer in (model.model.embed_tokens, *model.model.layers[:-1], model.model.norm)
    ]
    prefill(model, ids, model.new_cache(1), 0)
    for hook in hooks:
        hook.remove()
    # A long prompt passes in chunks; the last one holds the last position.
    torch.testing.assert_close(torch.stack(seen[-len(hooks) :]), case["last_position_hidden"], rtol=0, atol=ATOL)


@torch.inference_mode()
def test_decoding_with_the_cache(case: golden.Golden, model: Step1) -> None:
    ids, fed = case["input_ids"][0], case["decode_input_ids"]
    cache = model.new_cache(1)
    token = model.logits(prefill(model, ids, cache, 0))[-1].argmax()
    for i in range(len(fed)):
        assert int(token) == int(fed[i])
        at = len(ids) + i
        logits = model.logits(model.step(fed[i : i + 1], torch.tensor([at]), cache, at + 1))[0]
        torch.testing.assert_close(logits, case["decode_logits"][i], rtol=0, atol=ATOL)
        token = logits.argmax()


@torch.inference_mode()
def test_cached_decode_equals_one_full_forward(case: golden.Golden, model: Step1) -> None:
    ids = torch.cat([case["input_ids"][0], case["decode_input_ids"]])
    full = model.logits(prefill(model, ids, model.new_cache(1), 0))
    cache = model.new_cache(1)
    positions = [torch.tensor([i]) for i in range(len(ids))]
    steps = [model.step(ids[i : i + 1], positions[i], cache, len(ids)) for i in range(len(ids))]
    torch.testing.assert_close(model.logits(torch.cat(steps)), full, rtol=0, atol=rounding(case))


@pytest.mark.parametrize("chunk_tokens", [1, 7, 16, 1000])
@torch.inference_mode()
def test_prefill_in_chunks(case: golden.Golden, model: Step1, chunk_tokens: int) -> None:
    ids = case["input_ids"][0]
    whole = prefill(model, ids, model.new_cache(1), 0)
    parts = prefill(model, ids, model.new_cache(1), 0, chunk_tokens=chunk_tokens)
    torch.testing.assert_close(parts, whole, rtol=0, atol=rounding(case))


def test_chunks_shrink_where_prompts_grow() -> None:
    model = Step1(LanguageModelConfig(layers=1), device="meta", dtype=torch.bfloat16)
    assert [chunk_size(model, keys) for keys in (1, 1000, 4096, 8192, 10**6)] == [512, 512, 341, 170, 64]
    assert chunk_size(small.model(), 100) == 128


@torch.inference_mode()
def test_bfloat16_stays_near(case: golden.Golden) -> None:
    """Spec 10 §10 states 0.1 at most and 0.015 on average in 4 layers, of logits of unit standard deviation. The
    roundings of more layers are independent of each other: measured 0.12 and 0.019 in 12."""
    model = golden_model(case, dtype=torch.bfloat16)
    logits = model.logits(prefill(model, case["input_ids"][0], model.new_cache(1), 0))
    expected = case["prompt_logits"]
    difference = (logits - expected).abs() / expected.std()
    more = max(1.0, math.sqrt(LanguageModelConfig.parse(case.config).layers / 4))
    assert difference.max() < 0.15 * more
    assert difference.mean() < 0.02 * more


@pytest.mark.parametrize("switch", [field.name for field in fields(Switches)])
@torch.inference_mode()
def test_every_switch_changes_nothing(switch: str) -> None:
    ids = torch.arange(5, 45)
    on, off = small.model(), small.model(switches=replace(Switches(), **{switch: False}))
    outputs = [model.logits(prefill(model, ids, model.new_cache(1), 0)) for model in (on, off)]
    torch.testing.assert_close(*outputs, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_batch_rows_do_not_see_each_other() -> None:
    model = small.model()
    prompts = [torch.arange(5, 5 + n) for n in (3, 40, 17)]
    batch = model.new_cache(len(prompts))
    alone = []
    for row, ids in enumerate(prompts):
        cache = model.new_cache(1)
        prefill(model, ids[:-1], cache, 0)
        prefill(model, ids[:-1], batch, row)
        alone.append(model.step(ids[-1:], torch.tensor([len(ids) - 1]), cache, len(ids)))
    last = torch.stack([ids[-1] for ids in prompts])
    at = torch.tensor([len(ids) - 1 for ids in prompts])
    together = model.step(last, at, batch, 64)
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=1e-5)
    batch.kv[:, :, 1:] = 3
    other = torch.tensor([int(last[0]), 7, 8])
    assert torch.equal(model.step(other, at, batch, 64)[0], together[0])


@pytest.mark.parametrize(("heads", "groups"), [(1, 1), (4, 4), (7, 1), (6, 3), (12, 2)])
@torch.inference_mode()
def test_a_layer_is_the_plain_one(heads: int, groups: int) -> None:
    sizes = PlainSizes(hidden=16 * heads, intermediate=40, heads=heads, groups=groups)
    plain = PlainLayer(sizes, dtype=torch.float32)
    config = replace(small.CONFIG, hidden_size=16 * heads, intermediate_size=40, heads=heads, groups=groups, layers=1)
    model, filled = (
        small.model(config, max_tokens=50, switches=replace(Switches(), packed_weights=pack)) for pack in (True, False)
    )
    for name, parameter in filled.model.layers[0].named_parameters():
        plain.get_parameter(name.replace("self_attn.", "").replace("mlp.", "").replace("norm.weight", "norm")).copy_(
            parameter
        )
    ids = torch.arange(5, 45)
    x = model.model.embed_tokens(ids)[None]
    expected, past = plain(x[:, :30], None)
    cache, layer = model.new_cache(1), model.model.layers[0]
    positions = torch.arange(40)[None]
    found = layer(x[:, :30], 0, cache.chunk(0, 0, 30), model.bias.at(positions[:, :30], 30))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
    expected, _ = plain(x[:, 30:], past)
    found = layer(x[:, 30:], 0, cache.chunk(0, 30, 10), model.bias.at(positions[:, 30:], 40))
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@torch.inference_mode()
def test_a_row_can_be_read_written_and_moved() -> None:
    model = small.model()
    ids = torch.arange(5, 25)
    one, other = model.new_cache(2), model.new_cache(2)
    prefill(model, ids[:-1], one, 0)
    other.write(0, one.read(0, 19))
    other.move(0, 1, 19)
    expected = model.step(ids[-1:], torch.tensor([19]), one, 20)
    moved = model.step(ids[-1:].expand(2), torch.tensor([19, 19]), other, 20)
    torch.testing.assert_close(moved, expected.expand(2, -1), rtol=0, atol=1e-5)


def test_parameters_are_named_as_in_the_checkpoint() -> None:
    config = LanguageModelConfig(layers=2)
    with torch.device("meta"):
        model = Step1(config, device="meta", dtype=torch.bfloat16)
    shapes = {key: tuple(parameter.shape) for key, parameter in model.state_dict().items()}
    expected = {
        "model.embed_tokens.weight": (74752, 3072),
        "model.norm.weight": (3072,),
        "lm_head.weight": (74752, 3072),
    }
    for i in range(2):
        layer = f"model.layers.{i}"
        expected |= {
            f"{layer}.input_layernorm.weight": (3072,),
            f"{layer}.post_attention_layernorm.weight": (3072,),
            f"{layer}.self_attn.q_proj.weight": (3072, 3072),
            f"{layer}.self_attn.k_proj.weight": (256, 3072),
            f"{layer}.self_attn.v_proj.weight": (256, 3072),
            f"{layer}.self_attn.o_proj.weight": (3072, 3072),
            f"{layer}.mlp.gate_proj.weight": (8192, 3072),
            f"{layer}.mlp.up_proj.weight": (8192, 3072),
            f"{layer}.mlp.down_proj.weight": (3072, 8192),
        }
    assert shapes == expected
    assert checkpoint_mapping(model) == {key: key for key in expected}


@torch.inference_mode()
def test_joined_parameters_follow_the_module() -> None:
    model, moved = (small.model(switches=replace(Switches(), packed_weights=False)) for _ in range(2))
    moved.to(torch.float64).to(torch.float32)
    moved.load_state_dict({key: value.clone() for key, value in model.state_dict().items()}, assign=True)
    ids = torch.arange(5, 25)
    expected = prefill(model, ids, model.new_cache(1), 0)
    torch.testing.assert_close(prefill(moved, ids, moved.new_cache(1), 0), expected, rtol=0, atol=1e-6)
    attention = moved.model.layers[0].self_attn
    assert attention.k_proj.weight.untyped_storage().data_ptr() == attention.q_proj.weight.untyped_storage().data_ptr()
