"""Makes speech faster or slower and keeps its pitch."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from editx.audio.clip import Clip, Samples
from editx.errors import InvalidRequest

MIN_FACTOR = 0.25
MAX_FACTOR = 4.0
_FRAME_S = 0.02
_EMPTY = np.zeros(0, np.float32)


def stretch(clip: Clip, factor: float) -> Clip:
    """The clip at `factor` times its speed: 2 lasts half as long. Raises InvalidRequest outside 0.25 to 4."""
    stretcher = Stretcher(clip.rate, factor)
    return Clip.join([stretcher.write(clip), stretcher.finish()])


class Stretcher:
    """Changes the speed of a stream of clips at `rate` Hz. What comes out lags behind what goes in by some 0.1 s, or
    0.2 s where it is made more than twice as fast."""

    def __init__(self, rate: int, factor: float) -> None:
        if not (math.isfinite(factor) and MIN_FACTOR <= factor <= MAX_FACTOR):
            raise InvalidRequest(
                f"speed is a number from {MIN_FACTOR:g} to {MAX_FACTOR:g}, not {factor:g}", param="speed"
            )
        self._rate = rate
        self._factor = factor
        self._pushed = 0
        self._pulled = 0
        self._graph = None if factor == 1.0 else _tempo_graph(rate, factor)

    def write(self, clip: Clip) -> Clip:
        """Add `clip`; returns what is ready, maybe nothing. Raises ValueError when its rate is another."""
        import av

        if clip.rate != self._rate:
            raise ValueError(f"this stretcher takes clips at {self._rate} Hz, not {clip.rate} Hz")
        if self._graph is None or not len(clip.samples):
            return clip
        # The filter gives out a piece only when it has as much as what went in last, so it is fed with small ones.
        size = max(1, round(self._rate * _FRAME_S))
        for start in range(0, len(clip.samples), size):
            samples = np.ascontiguousarray(clip.samples[start : start + size])
            frame = av.AudioFrame.from_ndarray(samples[np.newaxis, :], "flt", "mono")
            frame.sample_rate = self._rate
            frame.time_base = Fraction(1, self._rate)
            frame.pts = self._pushed
            self._pushed += len(samples)
            self._graph.push(frame)
        return self._pull()

    def finish(self) -> Clip:
        """The rest. The stretcher is used up afterwards."""
        if self._graph is None or not self._pushed:
            return Clip(_EMPTY, self._rate)
        self._graph.push(None)
        rest = self._pull().samples
        # atempo rounds its output up to whole windows; the promise is the exact length.
        due = max(0, round(self._pushed / self._factor) - (self._pulled - len(rest)))
        padding = np.zeros(max(0, due - len(rest)), np.float32)
        return Clip(np.concatenate([rest[:due], padding]), self._rate)

    def _pull(self) -> Clip:
        import av

        assert self._graph is not None
        parts: list[Samples] = []
        while True:
            try:
                frame = self._graph.pull()
            except (av.BlockingIOError, av.EOFError):
                break
            assert isinstance(frame, av.AudioFrame)
            parts.append(frame.to_ndarray()[0].astype(np.float32))
        samples = np.concatenate(parts) if parts else _EMPTY
        self._pulled += len(samples)
        return Clip(samples, self._rate)


def _tempo_graph(rate: int, factor: float):  # type: ignore[no-untyped-def]
    """One atempo works well from 0.5 to 2; two in a row share what is beyond."""
    from av.filter import Graph

    graph = Graph()
    graph.threads = 1
    node = graph.add_abuffer(sample_rate=rate, format="flt", layout="mono", time_base=Fraction(1, rate))
    parts = [factor] if 0.5 <= factor <= 2.0 else [math.sqrt(factor)] * 2
    for name, args in [*(("atempo", f"{part:.9f}") for part in parts), ("aformat", "sample_fmts=flt")]:
        following = graph.add(name, args)
        node.link_to(following)
        node = following
    node.link_to(graph.add("abuffersink"))
    graph.configure()
    return graph
