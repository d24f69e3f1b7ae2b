"""The rules of drawing, one by one, against the reference and against their statement."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch

from editx.engines.base import Sampling
from editx.engines.step.lm.sampling import (
    NARROW_K,
    RECENT,
    Controls,
    Head,
    SamplingOptions,
    banned,
    draw,
    next_tokens,
    probabilities,
    uniforms,
)
from editx.errors import InvalidRequest
from tests import golden
from tests.engines.step.lm.small import LAYOUT

CPU = torch.device("cpu")
VOCAB = 320


def controls(rows: int, options: SamplingOptions) -> Controls:
    return Controls(
        torch.full((rows,), options.temperature),
        torch.full((rows,), options.top_k),
        torch.full((rows,), options.top_p),
        torch.full((rows,), options.repetition_rule),
        torch.full((rows,), options.structure),
    )


def recent(*sequences: list[int]) -> torch.Tensor:
    return torch.tensor([([-1] * RECENT + ids)[-RECENT:] for ids in sequences])


def spread(found: tuple[torch.Tensor, torch.Tensor], columns: int) -> torch.Tensor:
    """Probabilities in order of column."""
    probabilities_bk, columns_bk = found
    return torch.zeros(len(columns_bk), columns).scatter(1, columns_bk, probabilities_bk)


def decimal(digits: str) -> float:
    """What a name says without its point: 07 is 0.7, 1 is 1.0, 13 is 1.3, 095 is 0.95."""
    return float(f"{digits[0]}.{digits[1:]}")


SAMPLING = [(case, name) for case in golden.family("sampling") for name in case.names if name.startswith("probs")]


@pytest.mark.parametrize(("case", "name"), SAMPLING, ids=str)
def test_probabilities(case: golden.Golden, name: str) -> None:
    logits = case["logits"]
    stated = re.fullmatch(r"probs_temp(\d+)(?:_top_?k?(\d+))?(?:_(?:top_?)?p(\d+))?", name)
    if not stated:
        pytest.skip(f"{name} states no temperature, top k or top p that is understood here")
    top_k = int(stated[2] or 0)
    options = SamplingOptions(temperature=decimal(stated[1]), top_k=top_k, top_p=decimal(stated[3] or "1"))
    asked = controls(len(logits), options)
    found = spread(probabilities(logits, asked, wide=True), logits.shape[1])
    torch.testing.assert_close(found, case[name], rtol=1e-5, atol=1e-7)
    assert torch.equal(found > 0, case[name] > 0)
    if 0 < top_k <= NARROW_K:
        narrow = spread(probabilities(logits, asked, wide=False), logits.shape[1])
        torch.testing.assert_close(narrow, found, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("case", golden.family("rules"), ids=repr)
def test_repetition_rule(case: golden.Golden) -> None:
    expected = case["rep_mask"].bool()
    sequences = [ids[:n].tolist() for ids, n in zip(case["rep_tokens"], case["rep_lengths"], strict=True)]
    head = Head(LAYOUT, expected.shape[1], cut=False, device=CPU)
    free = controls(len(sequences), SamplingOptions(structure=False))
    zeros = torch.zeros(expected.shape)
    masked = head.apply(zeros, recent(*sequences), torch.zeros(len(sequences), dtype=torch.int64), free)
    assert torch.equal(masked == float("-inf"), expected)
    assert torch.equal(banned(recent(*sequences)), expected.any(-1))


def test_repetition_rule_can_be_off() -> None:
    head = Head(LAYOUT, VOCAB, cut=False, device=CPU)
    off = controls(1, SamplingOptions(structure=False, repetition_rule=False))
    assert head.apply(torch.zeros(1, VOCAB), recent([7] * 10), torch.tensor([3]), off).isfinite().all()


@pytest.mark.parametrize("cut", [True, False])
def test_structure(cut: bool) -> None:
    head = Head(LAYOUT, VOCAB, cut=cut, device=CPU)
    logits = torch.zeros(1, len(head.ids_v))
    for slot in [*range(12), 5000, 5001, 5004]:
        masked = head.apply(logits, recent(list(range(10))), torch.tensor([slot]), controls(1, SamplingOptions()))
        allowed = set(head.ids_v[masked[0] == 0].tolist())
        expected = set(range(100, 140)) if slot % 5 < 2 else set(range(140, 300))
        if slot % 5 == 0 and slot > 0:
            expected.add(LAYOUT.eos)
        assert allowed == expected, slot


def test_the_whole_head_and_the_cut_one_draw_the_same() -> None:
    logits = torch.randn(64, VOCAB, generator=torch.Generator().manual_seed(1)) * 3
    produced, numbers = torch.arange(64) % 13, uniforms(7, 64)
    before = recent(*([*range(50, 59), 100 + i] for i in range(64)))
    drawn = []
    for cut in (True, False):
        head = Head(LAYOUT, VOCAB, cut=cut, device=CPU)
        asked = controls(64, SamplingOptions())
        drawn.append(next_tokens(head, logits[:, head.ids_v], before, produced, numbers, asked, wide=not cut))
    assert torch.equal(*drawn)
    assert all(LAYOUT.fits(int(t), int(s)) or int(t) == LAYOUT.eos for t, s in zip(drawn[0], produced, strict=True))


def test_top_p_keeps_the_likeliest_that_reach_it() -> None:
    logits = torch.tensor([[0.5, 0.3, 0.15, 0.05]]).log()

    def kept(top_p: float) -> list[float]:
        asked = controls(1, SamplingOptions(temperature=1, top_k=0, top_p=top_p))
        found: list[float] = spread(probabilities(logits, asked, wide=True), 4)[0].tolist()
        return found

    assert kept(1.0) == pytest.approx([0.5, 0.3, 0.15, 0.05])
    assert kept(0.79) == pytest.approx([0.625, 0.375, 0, 0])
    assert kept(0.81) == pytest.approx([0.5 / 0.95, 0.3 / 0.95, 0.15 / 0.95, 0])
    assert kept(0.01) == pytest.approx([1, 0, 0, 0])


def test_temperature_zero_takes_the_likeliest() -> None:
    logits = torch.randn(8, VOCAB, generator=torch.Generator().manual_seed(2))
    found, columns = probabilities(logits, controls(8, SamplingOptions(temperature=0)), wide=False)
    assert torch.equal(columns.gather(1, draw(found, torch.full((8,), 0.999))[:, None])[:, 0], logits.argmax(-1))


def test_draws_follow_the_probabilities() -> None:
    expected = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    count = 40_000
    index = draw(expected.expand(count, -1), uniforms(3, count))
    torch.testing.assert_close(index.bincount(minlength=5) / count, expected, rtol=0, atol=0.01)


def test_equally_likely_tokens_do_not_change_places_with_the_last_bit() -> None:
    logits = torch.randn(1, VOCAB, generator=torch.Generator().manual_seed(4)).round(decimals=1).expand(500, -1)
    noise = torch.randn(logits.shape, generator=torch.Generator().manual_seed(5)) * 1e-7
    asked, numbers = controls(500, SamplingOptions(top_k=0, structure=False)), uniforms(6, 500)
    head, before, produced = Head(LAYOUT, VOCAB, cut=False, device=CPU), recent(*[[1]] * 500), torch.arange(500)
    drawn = [next_tokens(head, x, before, produced, numbers, asked, wide=True) for x in (logits, logits + noise)]
    assert torch.equal(*drawn)


def test_the_ends_of_a_draw() -> None:
    weights = torch.tensor([[0.25, 0.75, 0.0, 0.0]]).expand(4, -1)
    below_one = torch.nextafter(torch.tensor(1.0), torch.tensor(0.0)).item()
    assert draw(weights, torch.tensor([0.0, 0.2499, 0.25, below_one])).tolist() == [0, 0, 1, 1]


def test_numbers_of_a_seed_are_the_same_whatever_their_count() -> None:
    assert torch.equal(uniforms(5, 100)[:20], uniforms(5, 20))
    assert not torch.equal(uniforms(5, 20), uniforms(6, 20))
    assert uniforms(2**63 - 1, 5).lt(1).all()


def test_neighbours_do_not_change_a_draw() -> None:
    head = Head(LAYOUT, VOCAB, cut=True, device=CPU)
    logits = torch.randn(16, len(head.ids_v), generator=torch.Generator().manual_seed(4))
    numbers, produced, before = uniforms(1, 16), torch.arange(16), recent(*([list(range(10))] * 16))
    asked = controls(16, SamplingOptions())
    all_rows = next_tokens(head, logits, before, produced, numbers, asked, wide=False)
    for row in range(16):
        one = slice(row, row + 1)
        alone = next_tokens(
            head, logits[one], before[one], produced[one], numbers[one], controls(1, SamplingOptions()), wide=True
        )
        assert alone == all_rows[one]


def test_defaults_are_the_engines() -> None:
    assert SamplingOptions.of(Sampling()) == SamplingOptions(temperature=0.7, top_k=50, top_p=1.0)
    assert SamplingOptions.of(Sampling(temperature=0.0, top_k=0)) == SamplingOptions(temperature=0.0, top_k=0)
    assert SamplingOptions().top_k <= NARROW_K


@pytest.mark.parametrize(
    "wrong", [{"temperature": -1.0}, {"temperature": float("nan")}, {"top_k": -1}, {"top_p": 0.0}, {"top_p": 1.5}]
)
def test_what_is_out_of_range_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        SamplingOptions(**wrong)
    assert caught.value.param in wrong
