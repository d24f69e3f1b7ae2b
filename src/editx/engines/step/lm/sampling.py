"""How the next token is drawn: the rules in the order of spec 20 §5, for many rows at once, without synchronisation.

raw logits → repetition rule → structure mask → temperature → top k → softmax → top p → draw by prefix sum. Each draw
takes one uniform number that belongs to its request, so neighbours in a batch never change it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editx.engines.base import Sampling
from editx.engines.step.text.audio_tokens import GROUP, LINGUISTIC_PER_GROUP, TokenLayout
from editx.errors import InvalidRequest

RECENT = 10
"""How far back the repetition rule looks, in tokens."""
NARROW_K = 64
"""Top-k up to here is picked without sorting everything."""
_MINUS_INFINITY = float("-inf")


@dataclass(frozen=True, slots=True)
class SamplingOptions:
    """How one request's tokens are drawn; the engine's defaults."""

    temperature: float = 0.7
    """0 takes the likeliest token."""
    top_k: int = 50
    """0 is off."""
    top_p: float = 1.0
    repetition_rule: bool = True
    structure: bool = True
    """Only what the vocoder can read. Off gives upstream's distribution, for experiments from Python: no engine asks
    for it, and of its ids `audio_tokens.realign` makes whole groups (spec 20 §5)."""

    def __post_init__(self) -> None:
        """Raises InvalidRequest naming the option that is out of range."""
        if not 0 <= self.temperature <= 5:
            raise InvalidRequest(f"temperature is {self.temperature}; use 0 to 5", param="temperature")
        if self.top_k < 0:
            raise InvalidRequest(f"top_k is {self.top_k}; use 1 or more, or 0 for off", param="top_k")
        if not 0 < self.top_p <= 1:
            raise InvalidRequest(f"top_p is {self.top_p}; use above 0 and at most 1", param="top_p")

    @property
    def wide(self) -> bool:
        """Whether more candidates are considered than the `NARROW_K` likeliest."""
        return self.temperature > 0 and (self.top_k == 0 or self.top_k > NARROW_K)

    @classmethod
    def of(cls, sampling: Sampling) -> SamplingOptions:
        """What a request asked for, defaults elsewhere."""
        asked = {"temperature": sampling.temperature, "top_k": sampling.top_k, "top_p": sampling.top_p}
        return cls(**{name: value for name, value in asked.items() if value is not None})  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Controls:
    """`SamplingOptions` of many rows as tensors (rows,) on the device."""

    temperature_b: Tensor
    top_k_b: Tensor
    top_p_b: Tensor
    repetition_b: Tensor
    structure_b: Tensor


def banned(recent_bw: Tensor) -> Tensor:
    """Which rows' last token may not come next: bool (rows,).

    recent_bw: the last 10 ids of the whole sequence, -1 where it is shorter; the rule needs all ten.
    """
    repeats_b = (recent_bw == recent_bw[:, -1:]).sum(-1)
    return (repeats_b >= 2) & (recent_bw[:, 0] >= 0)


class Head:
    """Which ids the columns of the logits stand for: the whole vocabulary, or only what structure allows."""

    def __init__(self, layout: TokenLayout, vocab_size: int, *, cut: bool, device: torch.device) -> None:
        self.layout, self.cut = layout, cut
        audio = torch.arange(layout.audio_base, layout.audio_end, device=device)
        eos = torch.tensor([layout.eos], device=device)
        # In the order of ids either way, so that both draw the same.
        self.ids_v = torch.cat([eos, audio]) if cut else torch.arange(vocab_size, device=device)
        linguistic_v = (self.ids_v >= layout.audio_base) & (self.ids_v < layout.semantic_base)
        semantic_v = (self.ids_v >= layout.semantic_base) & (self.ids_v < layout.audio_end)
        eos_v = self.ids_v == layout.eos
        self.allowed_sv = torch.stack(
            [
                (linguistic_v if slot % GROUP < LINGUISTIC_PER_GROUP else semantic_v) | (eos_v & (slot == GROUP))
                for slot in range(2 * GROUP)
            ]
        )
        """By slot: the first group apart, which may not end at once; then every group alike."""

    def apply(self, logits_bv: Tensor, recent_bw: Tensor, produced_b: Tensor, controls: Controls) -> Tensor:
        """Repetition rule and structure mask: fp32 (rows, columns) with -inf where nothing may be drawn."""
        last_b1 = recent_bw[:, -1:]
        repeats_bv = (self.ids_v == last_b1) & (banned(recent_bw) & controls.repetition_b)[:, None]
        slot_b = torch.where(produced_b < GROUP, produced_b, GROUP + produced_b % GROUP)
        allowed_bv = self.allowed_sv[slot_b] | ~controls.structure_b[:, None]
        return logits_bv.masked_fill(repeats_bv | ~allowed_bv, _MINUS_INFINITY)


def probabilities(logits_bv: Tensor, controls: Controls, *, wide: bool) -> tuple[Tensor, Tensor]:
    """What may be drawn: probabilities and their columns, both (rows, candidates).

    In the order of columns, what cannot be drawn last: by likelihood, two that are equally likely would change places
    with the last bit of a logit. `wide`: consider every column; else the `NARROW_K` likeliest, which suffices when no
    row's top k is off or larger.
    """
    count = logits_bv.shape[1] if wide else min(NARROW_K, logits_bv.shape[1])
    scores_bk, columns_bk = torch.topk(logits_bv.float(), count, dim=-1)
    greedy_b1 = (controls.temperature_b == 0)[:, None]
    top_k_b1 = torch.where(controls.top_k_b == 0, count, controls.top_k_b)[:, None].masked_fill(greedy_b1, 1)
    rank_k = torch.arange(count, device=logits_bv.device)
    temperature_b1 = controls.temperature_b[:, None].masked_fill(greedy_b1, 1.0)
    scores_bk = (scores_bk / temperature_b1).masked_fill(rank_k >= top_k_b1, _MINUS_INFINITY)
    weights_bk = torch.softmax(scores_bk, dim=-1)
    # A token stays while those before it hold less than top p together; so the first always does.
    before_bk = weights_bk.cumsum(-1) - weights_bk
    outside_bk = (before_bk >= controls.top_p_b[:, None]) & (controls.top_p_b < 1)[:, None]
    kept_bk = weights_bk.masked_fill(outside_bk, 0.0)
    kept_bk = kept_bk / kept_bk.sum(-1, keepdim=True)
    order_bk = columns_bk.masked_fill(kept_bk == 0, logits_bv.shape[1]).argsort(dim=-1)
    return kept_bk.gather(-1, order_bk), columns_bk.gather(-1, order_bk)


def draw(probabilities_bk: Tensor, uniform_b: Tensor) -> Tensor:
    """Index of the candidate at which the prefix sum passes `uniform_b` (0 to below 1): int64 (rows,)."""
    sums_bk = probabilities_bk.cumsum(-1)
    index_b = (sums_bk <= (uniform_b[:, None] * sums_bk[:, -1:])).sum(-1)
    # Rounding can make the last sum equal to what it is compared with.
    last_b = (probabilities_bk > 0).sum(-1) - 1
    return torch.minimum(index_b, last_b).clamp(min=0)


def next_tokens(
    head: Head,
    logits_bv: Tensor,
    recent_bw: Tensor,
    produced_b: Tensor,
    uniform_b: Tensor,
    controls: Controls,
    *,
    wide: bool,
) -> Tensor:
    """The ids drawn next, int64 (rows,).

    logits_bv: one column per id of `head`. produced_b: tokens drawn so far. uniform_b: this draw's number of each row.
    """
    masked_bv = head.apply(logits_bv, recent_bw, produced_b, controls)
    probabilities_bk, columns_bk = probabilities(masked_bv, controls, wide=wide)
    index_b = draw(probabilities_bk, uniform_b)
    return head.ids_v[columns_bk.gather(-1, index_b[:, None])[:, 0]]


def uniforms(seed: int, count: int) -> Tensor:
    """The numbers a request draws with, fp32 (count,) from 0 to below 1, on the CPU whatever the device is."""
    return torch.rand(count, generator=torch.Generator().manual_seed(seed))
