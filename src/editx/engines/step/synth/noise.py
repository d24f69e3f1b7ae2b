"""Seeded random weights of a scale that keeps a network's activations near 1."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch

_POOL = 2**22 + 15
_ROWS_BYTES = 2**26


class Noise:
    """Weights by key: the same seed, key and shape give the same numbers, whatever else was drawn.

    Tensors beyond 4 million numbers repeat a pool of normals from a place of their own, which makes terabytes a minute
    where drawing them all makes gigabytes.
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self._pool: torch.Tensor | None = None

    def weight(self, key: str, shape: tuple[int, ...]) -> torch.Tensor:
        """The fp32 weight of checkpoint key `key`."""
        return (
            torch.cat(list(self.rows(key, shape))).view(shape)
            if shape
            else self._scaled(key, shape, self._draw(key, 1)).view(())
        )

    def rows(self, key: str, shape: tuple[int, ...]) -> Iterator[torch.Tensor]:
        """`weight(key, shape)` in stretches of rows, so that a large one never is in memory as a whole."""
        width = math.prod(shape[1:])
        step = max(1, _ROWS_BYTES // (4 * max(1, width)))
        for first in range(0, shape[0], step):
            rows = min(step, shape[0] - first)
            x = self._draw(key, rows * width, first * width) if math.prod(shape) > _POOL else None
            if x is None:
                x = self._draw(key, math.prod(shape))[first * width : (first + rows) * width]
            yield self._scaled(key, shape, x).view(rows, *shape[1:])

    def _draw(self, key: str, count: int, skip: int = 0) -> torch.Tensor:
        """`count` normals."""
        start = int.from_bytes(hashlib.sha256(f"{self.seed}\0{key}".encode()).digest()[:7], "little")
        if skip == 0 and count <= _POOL:
            return torch.randn(count, generator=torch.Generator().manual_seed(start))
        if self._pool is None:
            self._pool = torch.randn(_POOL, generator=torch.Generator().manual_seed(self.seed))
        at = (start + skip) % _POOL
        turns = -(-(at + count) // _POOL)
        return self._pool.repeat(turns)[at : at + count] if turns > 1 else self._pool[at : at + count].clone()

    @staticmethod
    def _scaled(key: str, shape: tuple[int, ...], x: torch.Tensor) -> torch.Tensor:
        if key.endswith("running_var"):
            return 1 + 0.1 * x.abs()
        if key.endswith("running_mean"):
            return 0.1 * x
        if len(shape) >= 2:
            return x / math.sqrt(math.prod(shape[1:]))
        if key.endswith((".weight", ".alpha")):
            return 1 + 0.1 * x
        return 0.1 * x
