"""Runs decode steps: replayed as a CUDA graph where there is one, else launched kernel by kernel, or row by row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Protocol

import torch

from editx.engines.step.lm.decode import Decoding, StepShape

_SMALLEST_KEYS = 256
_WARM_UPS = 2


class Runner(Protocol):
    """Decides in which shapes steps are run, and runs them."""

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        """Draw a token for each of the first rows, of which each by itself needs what `needs` says.

        `keys` suffices for all of them, and for the row of a sequence that is still joining.
        """
        ...


class RowRunner:
    """Runs the rows one by one: each result is to the last bit what it is without neighbours.

    For the CPU, whose products round differently for other numbers of rows, and where two rows in one product take
    longer than one after the other.
    """

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        for row, shape in enumerate(needs):
            self._decoding.step(shape, row)


class BatchRunner:
    """Runs all rows at once, launched kernel by kernel, no larger than they must be."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        self._decoding.step(together(needs, keys))


class GraphRunner:
    """Captures a step of all rows in each shape once and replays it. Shapes are rounded up so that there are few."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._graphs: dict[StepShape, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None

    def step(self, needs: Sequence[StepShape], keys: int) -> None:
        shape = rounded(self._decoding, together(needs, keys))
        graph = self._graphs.get(shape)
        if graph is None:
            graph = self._graphs[shape] = self._capture(shape)
        graph.replay()

    def _capture(self, shape: StepShape) -> torch.cuda.CUDAGraph:
        state = self._decoding.rows.tensors()
        before = [tensor.clone() for tensor in state]
        side = torch.cuda.Stream(self._decoding.model.device)
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(_WARM_UPS):
                self._decoding.step(shape)
                # Steps in earnest write the same place of the cache again; only the rows have to go back.
                for tensor, old in zip(state, before, strict=True):
                    tensor.copy_(old)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # Other threads decode audio on their own streams meanwhile, and must not spoil the capture.
        with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
            self._decoding.step(shape)
        self._pool = graph.pool()
        return graph


def together(needs: Sequence[StepShape], keys: int) -> StepShape:
    """The shape that gives every row what it needs."""
    return StepShape(len(needs), keys, wide=any(n.wide for n in needs), free=any(n.free for n in needs))


def rounded(decoding: Decoding, shape: StepShape) -> StepShape:
    """The shape a graph is captured for. Its further rows are out of use, its further keys masked."""
    rows, keys = rows_bucket(shape.rows, decoding.cache.rows), keys_bucket(shape.keys, decoding.cache.max_tokens)
    return replace(shape, rows=rows, keys=keys)


def rows_bucket(rows: int, most: int) -> int:
    """`rows` rounded up to a power of two, or to `most`."""
    return min(most, 1 << (rows - 1).bit_length())


def keys_bucket(keys: int, most: int) -> int:
    """`keys` rounded up to 256 times 1, 2, 3, 4, 6, 8, 12, 16, …, or to `most`."""
    size = _SMALLEST_KEYS
    while size < keys:
        size = size * 3 // 2 if size & (size - 1) == 0 and size > _SMALLEST_KEYS else 1 << size.bit_length()
    return min(size, most)


def fastest_runner(decoding: Decoding) -> Runner:
    """Graphs on CUDA unless switched off, row by row on the CPU."""
    device = decoding.model.device.type
    if device == "cuda" and decoding.model.switches.graph:
        return GraphRunner(decoding)
    return RowRunner(decoding) if device == "cpu" else BatchRunner(decoding)
