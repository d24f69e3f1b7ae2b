"""Plain sample arithmetic shared by the parts of the lite engine: levels, activity, fades, the limiter.

Sound is mono, at `RATE`, full scale ±1. A frame is `HOP` samples (5 ms); frame i is centred on sample i * HOP.
"""

from __future__ import annotations

import numpy as np
import soxr
from numpy.typing import NDArray

from editx.audio.clip import Clip, Samples

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

RATE = 24_000
HOP = 120
FRAMES_PER_SECOND = RATE // HOP
SILENCE_DB = -65.0
"""A clip whose loudest 30 ms stay below this level (dB re full scale) holds nothing to work on."""
_CEILING = 0.985
_OFFSET_SHARE = 1e-5  # of the power


def at_engine_rate(clip: Clip) -> Samples:
    """The clip's samples at `RATE`, finite, around zero and within ±1: the very same array where nothing has to change.

    An offset, which nobody hears, would count as loudness and fill the pauses.
    """
    x = clip.samples
    if clip.rate != RATE and len(x):
        x = soxr.resample(x, clip.rate, RATE, quality="HQ")
    if not np.isfinite(x).all():
        x = np.nan_to_num(x, nan=0.0, posinf=1.0, neginf=-1.0)
    if len(x):
        offset = float(x.mean(dtype=np.float64))
        if offset**2 > _OFFSET_SHARE * float(np.square(x, dtype=np.float64).mean()):
            x = x - np.float32(offset)
        if np.abs(x).max() > 1.0:
            x = np.clip(x, -1.0, 1.0)
    return np.ascontiguousarray(x, dtype=np.float32)


def db(power: Floats) -> Floats:
    """Decibels of a power, never below -120."""
    return np.asarray(10.0 * np.log10(np.maximum(power, 1e-12)))


def frame_power(x: NDArray[np.floating], seconds: float = 0.03) -> Floats:
    """Mean square in a window of `seconds` around each frame; shape (len(x) // HOP + 1,)."""
    half = int(seconds * RATE / 2)
    total = np.concatenate([[0.0], np.cumsum(np.square(x, dtype=np.float64))])
    centre = np.arange(len(x) // HOP + 1) * HOP
    low, high = np.maximum(centre - half, 0), np.minimum(centre + half, len(x))
    return np.asarray(np.maximum(total[high] - total[low], 0.0) / np.maximum(high - low, 1))


def is_silent(x: NDArray[np.floating]) -> bool:
    """Whether there is nothing in it that could be heard."""
    return len(x) == 0 or float(db(frame_power(x)).max()) < SILENCE_DB


def active_frames(power_db: Floats) -> Mask:
    """Which frames hold speech, judged by level against the recording's own noise floor.

    The threshold lies 6 dB over the floor, but never closer than 14 dB nor further than 50 dB below the loud frames,
    so that it holds both for digital silence and for a noisy room.
    """
    peak = float(np.percentile(power_db, 98))
    heard = power_db[power_db > peak - 75.0]
    floor = float(np.percentile(heard, 5)) if len(heard) else peak
    threshold = max(min(max(floor + 6.0, peak - 50.0), peak - 14.0), SILENCE_DB)
    return np.asarray(power_db > threshold)


def spans(mask: Mask) -> list[tuple[int, int]]:
    """The runs of True as half-open pairs of indices."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def speech_spans(mask: Mask, *, pad_s: float, shortest_gap_s: float) -> list[tuple[int, int]]:
    """Runs of speech in frames, widened by `pad_s` on both sides; gaps then shorter than `shortest_gap_s` close."""
    pad, gap = round(pad_s * FRAMES_PER_SECOND), round(shortest_gap_s * FRAMES_PER_SECOND)
    merged: list[tuple[int, int]] = []
    for start, stop in spans(mask):
        start, stop = max(start - pad, 0), min(stop + pad, len(mask))
        if merged and start - merged[-1][1] < gap:
            start = merged.pop()[0]
        merged.append((start, stop))
    return merged


def active_level_db(x: NDArray[np.floating]) -> float:
    """Level of the speech in `x` without its pauses: RMS of the active frames in dB re full scale."""
    power = frame_power(x)
    active = active_frames(db(power))
    return float(db(np.asarray(power[active].mean() if active.any() else power.mean())))


def limit(x: Floats) -> Floats:
    """Keep peaks below full scale by turning loud passages down smoothly (5 ms), without clipping.

    Samples further than 10 ms from a peak over full scale come back unchanged.
    """
    if not len(x) or np.abs(x).max() <= _CEILING:
        return x
    reach = RATE // 200
    padded = np.pad(np.abs(x), 2 * reach, mode="constant")
    peak = np.lib.stride_tricks.sliding_window_view(padded, 2 * reach + 1).max(axis=1)
    wanted = np.minimum(1.0, _CEILING / np.maximum(peak, 1e-9))
    window = np.hanning(2 * reach + 3)[1:-1]
    gain = np.convolve(wanted, window / window.sum(), mode="valid")
    return np.asarray(np.clip(x * gain, -1.0, 1.0))


def smooth(values: Floats, width: int) -> Floats:
    """Moving average over `width` values, edges held; same shape."""
    if width < 2 or len(values) < 2:
        return values
    left = width // 2
    padded = np.pad(values, (left, width - 1 - left), mode="edge")
    return np.convolve(padded, np.full(width, 1.0 / width), mode="valid")
