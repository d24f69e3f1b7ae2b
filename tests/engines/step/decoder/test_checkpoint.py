"""Weights by name: both styles of weight norm, and what is missing, superfluous or of another shape is named."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor

from editx.engines.step.decoder.checkpoint import fold_weight_norm
from editx.engines.step.decoder.flow import Flow
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.synth.sizes import TINY
from editx.errors import LoadFailed
from tests.engines.step.decoder.small_decoder import states

CPU = torch.device("cpu")
GAIN, DIRECTION = (f".parametrizations.weight.original{i}" for i in (0, 1))


def wave(state: dict[str, Tensor]) -> Tensor:
    hift = Hift.load(TINY.vocoder, state, device=CPU)
    random = torch.Generator().manual_seed(2)
    mel, noise = (torch.randn(shape, generator=random) for shape in ((1, 80, 10), (1, 4800, 9)))
    with torch.inference_mode():
        return hift(mel, noise)[0]


def test_both_styles_of_weight_norm_and_none_are_one_vocoder() -> None:
    state = states()[1]
    old = {key.replace(GAIN, ".weight_g").replace(DIRECTION, ".weight_v"): value for key, value in state.items()}
    assert set(old) != set(state)
    assert torch.equal(wave(old), wave(state))
    assert torch.equal(wave(fold_weight_norm(state, "hift.pt")), wave(state))


def test_weight_norm_is_over_all_but_the_first_dimension() -> None:
    gain, direction = torch.rand(4, 1, 1) + 1, torch.randn(4, 3, 5)
    expected = direction * (gain / direction.flatten(1).norm(dim=1).view(4, 1, 1))
    for shaped in (gain, gain.flatten()):
        folded = fold_weight_norm({f"x{GAIN}": shaped, f"x{DIRECTION}": direction, "x.bias": gain}, "here")
        assert set(folded) == {"x.weight", "x.bias"}
        torch.testing.assert_close(folded["x.weight"], expected)


def test_half_a_pair_is_refused() -> None:
    with pytest.raises(LoadFailed, match=re.escape("hift.pt lacks x.weight_v")):
        fold_weight_norm({"x.weight_g": torch.ones(4, 1, 1)}, "hift.pt")
    with pytest.raises(LoadFailed, match=r"wrong shape: x\.weight_g"):
        fold_weight_norm({"x.weight_g": torch.ones(3, 1, 1), "x.weight_v": torch.ones(4, 3, 5)}, "hift.pt")


def test_what_the_vocoder_lacks_is_named() -> None:
    state = states()[1]
    for key in ("conv_pre.bias", f"conv_pre{DIRECTION}", "m_source.l_linear.weight"):
        with pytest.raises(LoadFailed, match=re.escape(f"hift.pt lacks {key}")):
            Hift.load(TINY.vocoder, {k: v for k, v in state.items() if k != key}, device=CPU)


KEY = "decoder.estimator.blocks.0.attn.q_norm.weight"


@pytest.mark.parametrize(
    ("change", "because"),
    [
        ({KEY: None}, f"model/flow.pt lacks {KEY}. It does not fit its cosyvoice.yaml; download both again"),
        ({"odd.weight": torch.ones(1)}, "model/flow.pt has unexpected odd.weight."),
        ({KEY: torch.ones(7)}, f"has the wrong shape: {KEY} (7,) instead of (32,)"),
        ({KEY: torch.ones(32, dtype=torch.int64)}, f"holds no floating-point numbers in {KEY}"),
        ({f"{i}": torch.ones(1) for i in range(7)}, "has unexpected 0, 1, 2, 3, 4 and 2 more"),
    ],
)
def test_a_flow_that_does_not_fit_is_refused(change: dict[str, Tensor | None], because: str) -> None:
    state = {key: value for key, value in (states()[0] | change).items() if value is not None}
    with pytest.raises(LoadFailed, match=re.escape(because)):
        Flow.load(TINY.flow, state, device=CPU, where="model/flow.pt")


def test_weights_stored_in_half_precision_are_read() -> None:
    flow = Flow.load(TINY.flow, {key: value.half() for key, value in states()[0].items()}, device=CPU)
    assert flow.input_embedding.embedding["weight"].dtype == torch.float32


def test_what_is_too_much_is_reported_of_the_vocoder_and_refused_of_the_flow(caplog: pytest.LogCaptureFixture) -> None:
    flow, vocoder = states()
    extra = {"optimizer.step": torch.zeros(1)}
    with caplog.at_level("WARNING"):
        assert torch.equal(wave({**vocoder, **extra}), wave(vocoder))
    assert "hift.pt holds optimizer.step, of which no use is made" in caplog.text
    with pytest.raises(LoadFailed, match=r"flow\.pt has unexpected optimizer\.step"):
        Flow.load(TINY.flow, {**flow, **extra}, device=CPU)
