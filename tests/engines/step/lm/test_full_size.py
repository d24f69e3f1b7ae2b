"""One layer at the published sizes, with a long context: the numbers of the plain one that benchmarks use."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from bench.plain_lm import PlainLayer, PlainSizes, randomise

from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1, prefill

CONTEXT = 1000


@pytest.mark.slow
@torch.inference_mode()
def test_a_decode_step_with_a_long_context() -> None:
    config = replace(LanguageModelConfig(), layers=1, vocab_size=320)
    model = Step1(config, device="cpu", dtype=torch.float32, max_tokens=CONTEXT)
    random = torch.Generator().manual_seed(1)
    randomise(model, random)
    layer, plain = model.model.layers[0], PlainLayer(PlainSizes(), dtype=torch.float32)
    plain.fill(layer.state_dict())
    model.prepare()
    ids = torch.randint(0, 320, (CONTEXT,), generator=random)
    cache = model.new_cache(1)
    prefill(model, ids[:-1], cache, 0)
    embedded = model.model.embed_tokens(ids)[None]
    _, past = plain(embedded[:, :-1], None)
    at = torch.tensor([CONTEXT - 1])
    step = layer(embedded[:, -1:], 0, cache.step(at, CONTEXT), model.bias.at(at[None], CONTEXT))
    torch.testing.assert_close(step, plain(embedded[:, -1:], past)[0], rtol=0, atol=1e-4)
