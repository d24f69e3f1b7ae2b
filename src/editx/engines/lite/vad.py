"""Take the silences out of speech."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite.sound import HOP, RATE, Floats, active_frames, db, frame_power, speech_spans
from editx.errors import InvalidRequest

_PAD_S, _SHORTEST_GAP_S = 0.045, 0.12
_FADE = RATE // 100


def speech_ranges(x: NDArray[np.floating]) -> list[tuple[int, int]]:
    """Where the speech is, in samples: pauses shorter than 0.2 s belong to it. Raises InvalidRequest where none is."""
    power_db = db(frame_power(x))
    found = speech_spans(active_frames(power_db), pad_s=_PAD_S, shortest_gap_s=_SHORTEST_GAP_S)
    if not found:
        raise InvalidRequest(
            "the recording holds no speech that could be kept; check that it is not silent", param="audio"
        )
    return [(start * HOP, min(stop * HOP, len(x))) for start, stop in found]


def remove_silence(x: NDArray[np.floating]) -> Iterator[tuple[Floats, float]]:
    """The speech of `x`, its parts cross-faded into each other over 10 ms, each with the share of work done."""
    ranges = speech_ranges(x)
    rise = (np.arange(_FADE) + 0.5) / _FADE
    tail = np.zeros(0)
    for i, (start, stop) in enumerate(ranges):
        piece = np.array(x[start:stop], dtype=np.float64)
        width = min(len(tail), len(piece))
        piece[:width] = piece[:width] * rise[:width] + tail[:width] * (1.0 - rise[:width])
        keep = len(piece) if i == len(ranges) - 1 else max(len(piece) - _FADE, 0)
        tail = piece[keep:]
        yield piece[:keep], (i + 1) / len(ranges)
