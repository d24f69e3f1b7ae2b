"""Cuts the silence at both ends of a recording (spec 30 §4)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from editx.audio.clip import Samples

_FRAME, _HOP = 512, 128
_QUIET_DB = -20.0
_FLOOR = 1e-5
_BEFORE = 800  # 0.05 s
_AROUND = 4320  # 0.05 s before and 0.22 s behind
_UNIT = 240
_FRAMES_AT_ONCE = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Trimmed:
    """`samples` with fixed margins around the sound, float32 (n,); [`start`, `end`) is where the sound was."""

    samples: Samples
    start: int
    end: int


def trim(x: Samples) -> Trimmed:
    """Trim float32 samples of shape (n,) at 16 kHz. The result has at least 4560 samples; inner pauses stay."""
    start, end = sounding(x)
    first = start - _BEFORE
    length = _UNIT * -(-(end - start) // _UNIT) + _AROUND
    samples = np.zeros(length, np.float32)
    kept = x[max(first, 0) : first + length]
    offset = max(-first, 0)
    samples[offset : offset + len(kept)] = kept
    return Trimmed(samples, start, end)


def sounding(x: Samples) -> tuple[int, int]:
    """First sample and end of what is within 20 dB of the loudest frame."""
    if not len(x):
        return 0, 0
    padded = np.pad(x, _FRAME // 2)
    frames = sliding_window_view(padded, _FRAME)[::_HOP]
    power = np.concatenate(
        [
            np.mean(frames[at : at + _FRAMES_AT_ONCE] ** 2, axis=1, dtype=np.float32)
            for at in range(0, len(frames), _FRAMES_AT_ONCE)
        ]
    )
    level_db = 20 * np.log10(np.maximum(np.sqrt(power), np.float32(_FLOOR)))
    loud = np.flatnonzero(level_db - level_db.max() > _QUIET_DB)
    return int(loud[0]) * _HOP, min(len(x), (int(loud[-1]) + 1) * _HOP)
