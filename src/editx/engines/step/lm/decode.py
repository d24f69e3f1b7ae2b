"""One decode step of a batch: a token in, a token out, all on the device."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.lm.cache import KeyValueCache
from editx.engines.step.lm.model import Step1
from editx.engines.step.lm.rows import Rows
from editx.engines.step.lm.sampling import Head, next_tokens
from editx.engines.step.text.audio_tokens import TokenLayout


@dataclass(frozen=True, slots=True)
class StepShape:
    """What decides which kernels a step runs: two steps of one shape run the same ones."""

    rows: int
    """Rows computed, in use or not."""
    keys: int
    """Keys each of them sees at most."""
    wide: bool
    """Whether some row's top k is off or large."""
    free: bool
    """Whether some row draws without the structure mask, from the whole vocabulary."""


class Decoding:
    """A model, its cache and the state of its rows, stepped together."""

    def __init__(self, model: Step1, cache: KeyValueCache, layout: TokenLayout) -> None:
        self.model, self.cache, self.layout = model, cache, layout
        self.rows = Rows.empty(cache.rows, cache.max_tokens, model.device)
        for row in range(cache.rows):
            self.rows.end(row)
        vocab = model.config.vocab_size
        self._whole = Head(layout, vocab, cut=False, device=model.device)
        self._cut = Head(layout, vocab, cut=True, device=model.device) if model.switches.cut_head else self._whole

    def step(self, shape: StepShape, first: int = 0) -> None:
        """Draw the next token of `shape.rows` rows from row `first` on. Nothing here waits for the device."""
        rows = self.rows.some(first, shape.rows)
        head = self._whole if shape.free else self._cut
        hidden_bd = self.model.step(rows.token_b, rows.position_b, self.cache, shape.keys, first)
        uniform_b = rows.uniform_bt.gather(1, rows.produced_b[:, None])[:, 0]
        next_b = next_tokens(
            head,
            self._logits(hidden_bd, head),
            rows.recent_bw,
            rows.produced_b,
            uniform_b,
            rows.controls(),
            wide=shape.wide,
        )
        rows.advance(next_b, self.layout.eos)

    def _logits(self, hidden_bd: Tensor, head: Head) -> Tensor:
        """fp32 (rows, columns of the head): of a cut head, the end's, then the audio rows, which lie side by side."""
        if not head.cut:
            return self.model.logits(hidden_bd)
        weight = self.model.lm_head.weight
        layout = self.layout
        audio_bv = F.linear(hidden_bd, weight[layout.audio_base : layout.audio_end])
        eos_bv = F.linear(hidden_bd, weight[layout.eos : layout.eos + 1])
        return torch.cat([eos_bv, audio_bv], dim=-1).float()
