"""Keys and values of all rows and layers, allocated once and written by position (spec 10 §5)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from editx.engines.step.lm.config import LanguageModelConfig


class KeyValueCache:
    """Room for `rows` sequences of `max_tokens` tokens.

    `kv`: (layers, keys and values, rows, groups, max_tokens, head_dim); heads are not repeated.
    """

    def __init__(
        self, config: LanguageModelConfig, rows: int, max_tokens: int, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        shape = (config.layers, 2, rows, config.groups, max_tokens, config.head_dim)
        # Zeros, not whatever memory held: a masked key still takes part as 0 times its value.
        self.kv = torch.zeros(shape, device=device, dtype=dtype)

    @property
    def rows(self) -> int:
        return self.kv.shape[2]

    @property
    def max_tokens(self) -> int:
        return self.kv.shape[4]

    @property
    def nbytes(self) -> int:
        return self.kv.nbytes

    def chunk(self, row: int, start: int, count: int) -> Window:
        """Where the next `count` tokens of one row go, and the tokens before them."""
        return Window(self.kv[:, :, row : row + 1, :, : start + count], slice(start, start + count), None)

    def step(self, positions_b: Tensor, keys: int, first: int = 0) -> Window:
        """Where one more token goes in each of the rows from `first` on, seeing at most `keys` keys."""
        b = positions_b.shape[0]
        rows = self.kv[:, :, first : first + b, :, :keys]
        return Window(rows, positions_b, torch.arange(b, device=positions_b.device))

    def read(self, row: int, count: int) -> Tensor:
        """A copy of the first `count` tokens of a row: (layers, 2, groups, count, head_dim)."""
        return self.kv[:, :, row, :, :count].clone()

    def write(self, row: int, kv: Tensor) -> None:
        """Put what `read` gave at the beginning of a row."""
        self.kv[:, :, row, :, : kv.shape[3]] = kv

    def move(self, source: int, target: int, count: int) -> None:
        """Copy the first `count` tokens of row `source` to row `target`."""
        self.kv[:, :, target, :, :count] = self.kv[:, :, source, :, :count]


@dataclass(frozen=True, slots=True)
class Window:
    """The part of a cache that one forward pass reads and writes."""

    kv: Tensor
    """(layers, 2, rows, groups, keys, head_dim)"""
    at: slice | Tensor
    """Tokens written: a slice of the one row, or a position for each row."""
    rows_b: Tensor | None

    @property
    def keys(self) -> int:
        return self.kv.shape[4]

    def store(self, layer: int, k_bsgd: Tensor, v_bsgd: Tensor) -> tuple[Tensor, Tensor]:
        """Write new keys and values; all of the layer's so far, (rows, groups, keys, head_dim) each."""
        k_bgtd, v_bgtd = self.kv[layer]
        if self.rows_b is None:
            k_bgtd[:, :, self.at] = k_bsgd.transpose(1, 2)
            v_bgtd[:, :, self.at] = v_bsgd.transpose(1, 2)
        else:
            k_bgtd[self.rows_b, :, self.at] = k_bsgd[:, 0]
            v_bgtd[self.rows_b, :, self.at] = v_bsgd[:, 0]
        return k_bgtd, v_bgtd
