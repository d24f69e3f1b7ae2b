"""The state of the sequences in a batch, one row each, on the device: all that a decode step reads and writes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editx.engines.step.lm.sampling import RECENT, Controls, SamplingOptions


@dataclass(frozen=True, slots=True)
class Rows:
    """Tensors whose first axis is the row. Rows in use come first; an unused row computes harmless nonsense."""

    token_b: Tensor
    """The last token of the sequence, not yet in the cache."""
    position_b: Tensor
    """Where that token goes."""
    produced_b: Tensor
    """Tokens drawn so far."""
    recent_bw: Tensor
    """The last ten tokens, -1 in front of shorter sequences."""
    finished_b: Tensor
    """Whether the end was drawn; the row then repeats it."""
    uniform_bt: Tensor
    """The numbers its draws take, by number of tokens drawn."""
    drawn_bt: Tensor
    """The tokens drawn so far."""
    temperature_b: Tensor
    top_k_b: Tensor
    top_p_b: Tensor
    repetition_b: Tensor
    structure_b: Tensor

    @classmethod
    def empty(cls, rows: int, max_tokens: int, device: torch.device) -> Rows:
        def integers(*shape: int) -> Tensor:
            return torch.zeros(rows, *shape, dtype=torch.int64, device=device)

        def booleans() -> Tensor:
            return torch.zeros(rows, dtype=torch.bool, device=device)

        return cls(
            token_b=integers(),
            position_b=integers(),
            produced_b=integers(),
            recent_bw=integers(RECENT),
            finished_b=booleans(),
            uniform_bt=torch.zeros(rows, max_tokens, device=device),
            drawn_bt=integers(max_tokens),
            temperature_b=torch.ones(rows, device=device),
            top_k_b=integers() + 1,
            top_p_b=torch.ones(rows, device=device),
            repetition_b=booleans(),
            structure_b=booleans(),
        )

    def tensors(self) -> list[Tensor]:
        return [getattr(self, name) for name in self.__slots__]

    def some(self, first: int, count: int) -> Rows:
        """`count` rows from row `first` on, as views."""
        return Rows(*(tensor[first : first + count] for tensor in self.tensors()))

    def controls(self) -> Controls:
        return Controls(self.temperature_b, self.top_k_b, self.top_p_b, self.repetition_b, self.structure_b)

    def begin(self, row: int, prompt: Sequence[int], options: SamplingOptions, uniform_t: Tensor) -> None:
        """Make a row the sequence `prompt`, of which all but the last token are in the cache already."""
        self.token_b[row] = prompt[-1]
        self.position_b[row] = len(prompt) - 1
        self.produced_b[row] = 0
        recent = [-1] * RECENT + list(prompt[-RECENT:])
        self.recent_bw[row] = torch.tensor(recent[-RECENT:])
        self.finished_b[row] = False
        self.uniform_bt[row, : uniform_t.shape[0]] = uniform_t.to(self.uniform_bt.device)
        self.temperature_b[row] = options.temperature
        self.top_k_b[row] = options.top_k
        self.top_p_b[row] = options.top_p
        self.repetition_b[row] = options.repetition_rule
        self.structure_b[row] = options.structure

    def end(self, row: int, position: int = 0) -> None:
        """Take a row out of use: from now on steps only write to the cache at `position`."""
        for tensor in self.tensors():
            tensor[row] = 0
        self.position_b[row] = position
        self.finished_b[row] = True
        self.temperature_b[row] = 1
        self.top_k_b[row] = 1
        self.top_p_b[row] = 1

    def move(self, source: int, target: int) -> None:
        """Copy row `source` to row `target`."""
        for tensor in self.tensors():
            tensor[target] = tensor[source]

    def advance(self, next_b: Tensor, eos: int) -> None:
        """Append the tokens drawn. A finished row stays where it is."""
        next_b = torch.where(self.finished_b, eos, next_b)
        self.drawn_bt.scatter_(1, self.produced_b[:, None], next_b[:, None])
        self.token_b.copy_(next_b)
        going_b = ~self.finished_b
        self.position_b.add_(going_b)
        self.produced_b.add_(going_b)
        self.finished_b.logical_or_(next_b == eos)
        self.recent_bw.copy_(torch.cat([self.recent_bw[:, 1:], next_b[:, None]], dim=1))
