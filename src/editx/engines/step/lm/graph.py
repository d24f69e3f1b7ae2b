"""Runs decode steps: replayed as a CUDA graph where there is one, else launched kernel by kernel."""

from __future__ import annotations

from typing import Any, Protocol

import torch

from editx.engines.step.lm.decode import Decoding, StepShape

_SMALLEST_KEYS = 256
_WARM_UPS = 2


class Runner(Protocol):
    """Decides the shapes of steps and runs them."""

    def shape(self, rows: int, keys: int, *, wide: bool, free: bool) -> StepShape:
        """The shape a step is run with that needs `rows` rows and `keys` keys."""
        ...

    def step(self, shape: StepShape) -> None: ...


class PlainRunner:
    """Runs every step as it is, no larger than it must be."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding

    def shape(self, rows: int, keys: int, *, wide: bool, free: bool) -> StepShape:
        return StepShape(rows, keys, wide, free)

    def step(self, shape: StepShape) -> None:
        self._decoding.step(shape)


class GraphRunner:
    """Captures a step of each shape once and replays it. Shapes are rounded up so that there are few."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding
        self._graphs: dict[StepShape, torch.cuda.CUDAGraph] = {}
        self._pool: Any = None

    def shape(self, rows: int, keys: int, *, wide: bool, free: bool) -> StepShape:
        return rounded(self._decoding, rows, keys, wide=wide, free=free)

    def step(self, shape: StepShape) -> None:
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


def rounded(decoding: Decoding, rows: int, keys: int, *, wide: bool, free: bool) -> StepShape:
    """The shape a graph is captured for. Its further rows are out of use, its further keys masked."""
    cache = decoding.cache
    return StepShape(rows_bucket(rows, cache.rows), keys_bucket(keys, cache.max_tokens), wide, free)


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
    """Graphs on CUDA unless switched off."""
    if decoding.model.device.type == "cuda" and decoding.model.switches.graph:
        return GraphRunner(decoding)
    return PlainRunner(decoding)
