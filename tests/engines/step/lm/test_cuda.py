"""What only a CUDA device can show; collected where there is one."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from editx.engines.step.lm.batcher import LanguageModel
from editx.engines.step.lm.config import Quantization
from editx.engines.step.lm.int4 import Int4Linear, pack
from editx.engines.step.lm.model import Step1, prefill
from editx.engines.step.lm.nf4 import Nf4Linear
from editx.engines.step.lm.sampling import SamplingOptions
from editx.engines.step.lm.switches import Switches
from tests import golden
from tests.engines.step.lm import small
from tests.engines.step.lm.small import LAYOUT

PROMPTS = [[1, 4, *range(5 + 7 * n, 5 + 7 * n + length)] for n, length in enumerate([12, 60, 25, 150, 33])]

if torch.cuda.is_available():

    def results(model: Step1, **options: int) -> list[list[int]]:
        served = LanguageModel(model, max_batch=3, layout=LAYOUT, **options)
        generations = [served.generate(prompt, seed=n, max_new=60) for n, prompt in enumerate(PROMPTS)]
        found = [[token for block in generation for token in block] for generation in generations]
        served.close()
        return found

    def test_graphs_change_nothing() -> None:
        graphs = small.model(device="cuda")
        plain = small.model(device="cuda", switches=replace(Switches(), graph=False))
        assert results(graphs) == results(plain)

    def test_graphs_serve_every_kind_of_step() -> None:
        served = LanguageModel(small.model(device="cuda"), max_batch=4, layout=LAYOUT, block=4)
        kinds = [SamplingOptions(top_k=0), SamplingOptions(structure=False), SamplingOptions(temperature=0)]
        together = [served.generate(PROMPTS[3], seed=1, max_new=50, options=kind) for kind in kinds]
        found = [[token for block in generation for token in block] for generation in together]
        for kind, expected in zip(kinds, found, strict=True):
            alone = served.generate(PROMPTS[3], seed=1, max_new=50, options=kind)
            assert [token for block in alone for token in block] == expected
        served.close()

    @torch.inference_mode()
    @pytest.mark.parametrize("fused_norm", [True, False])
    def test_bfloat16_stays_near_the_cpu(fused_norm: bool) -> None:
        ids = torch.arange(5, 85)
        switches = replace(Switches(), fused_norm=fused_norm)
        exact, model = small.model(), small.model(device="cuda", dtype=torch.bfloat16, switches=switches)
        expected = exact.logits(prefill(exact, ids, exact.new_cache(1), 0))
        found = model.logits(prefill(model, ids.cuda(), model.new_cache(1), 0)).cpu()
        assert (found - expected).abs().mean() < 0.02
        assert (found - expected).abs().max() < 0.15

    @torch.inference_mode()
    def test_neighbours_change_no_more_than_rounding() -> None:
        """bfloat16 products of more rows may add in another order: near, not equal, is what is promised of them."""
        model = small.model(device="cuda", dtype=torch.bfloat16)
        batch, alone = model.new_cache(len(PROMPTS)), []
        for row, prompt in enumerate(PROMPTS):
            ids, cache = torch.tensor(prompt, device="cuda"), model.new_cache(1)
            for own, place in ((cache, 0), (batch, row)):
                prefill(model, ids[:-1], own, place)
            alone.append(model.step(ids[-1:], torch.tensor([len(prompt) - 1], device="cuda"), cache, len(prompt)))
        last = torch.tensor([prompt[-1] for prompt in PROMPTS], device="cuda")
        at = torch.tensor([len(prompt) - 1 for prompt in PROMPTS], device="cuda")
        difference = (model.step(last, at, batch, 256) - torch.cat(alone)).float().abs()
        assert difference.max() < 0.1
        assert difference.mean() < 0.01

    @torch.inference_mode()
    def test_the_int4_kernel() -> None:
        numbers = torch.randint(0, 16, (256, 512), generator=torch.Generator().manual_seed(1))
        linear = Int4Linear(
            512, 256, group_size=128, symmetric=True, kernel=True, device=torch.device("cuda"), dtype=torch.bfloat16
        )
        linear.weight_packed.copy_(pack(numbers))
        linear.weight_scale.copy_(golden.normal("scale", (256, 4)) * 0.01)
        expected = linear.dequantized().float()
        linear.prepare("p")
        assert linear.laid_out is not None
        for rows in (1, 3, 40):
            x = torch.from_numpy(golden.normal("x", (rows, 512))).to("cuda", torch.bfloat16)
            torch.testing.assert_close(linear(x).float(), x.float() @ expected.T, rtol=0.02, atol=0.02)

    @torch.inference_mode()
    def test_quantised_steps_can_be_captured() -> None:
        for quantization in (Quantization("int4", group_size=32), Quantization("nf4", group_size=64)):
            config = replace(small.CONFIG, hidden_size=384, intermediate_size=512, quantization=quantization)
            model = Step1(config, device="cuda", dtype=torch.bfloat16, max_tokens=512)
            for name, tensor in model.state_dict().items():
                if not name.endswith("weight_shape"):
                    tensor.fill_(1) if tensor.dtype in (torch.uint8, torch.int32) else tensor.fill_(0.01)
            model.prepare()
            assert all(len(ids) > 0 for ids in results(model))

    @torch.inference_mode()
    def test_the_nf4_kernel() -> None:
        device = torch.device("cuda")
        on, off = (Nf4Linear(512, 96, device=device, dtype=torch.bfloat16, kernel=kernel) for kernel in (True, False))
        random = torch.Generator().manual_seed(1)
        for name, buffer in on.named_buffers():
            filled = torch.rand(buffer.shape, generator=random) * (255 if buffer.dtype == torch.uint8 else 0.1)
            buffer.copy_(filled)
            off.get_buffer(name).copy_(buffer)
        on.prepare("p")
        assert on.absmax_k is not None
        for rows in (1, 3, 40):
            x = torch.from_numpy(golden.normal("x", (rows, 512))).to("cuda", torch.bfloat16)
            torch.testing.assert_close(on(x), off(x), rtol=0.02, atol=0.02)
