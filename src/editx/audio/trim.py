"""Cuts the silence at both ends of a recording, whatever its level and its background noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editx.audio.clip import Clip

MARGIN_SECONDS = 0.15
"""What is kept on each side: breaths and soft consonants are below any threshold."""

_FRAME_SECONDS = 0.01
_LOUD_SECONDS = 0.3
_STEADY_FRAMES = 4
_OVER_NOISE_DB = 10.0
_BELOW_SPEECH_DB = (-45.0, -15.0)


def trim_silence(clip: Clip) -> Clip:
    """`clip` from where its speech begins to where it ends, with a margin; itself where nothing stands out."""
    start, stop = sounding(clip)
    margin = round(MARGIN_SECONDS * clip.rate)
    start, stop = max(0, start - margin), min(len(clip.samples), stop + margin)
    if (start, stop) == (0, len(clip.samples)):
        return clip
    return Clip(clip.samples[start:stop].copy(), clip.rate)


def sounding(clip: Clip) -> tuple[int, int]:
    """First sample and end of what is heard; all of `clip` where nothing stands out.

    Heard is what lies 10 dB over the background, and between 15 and 45 dB below the loudest 0.3 s, for at least 40 ms:
    a click is not speech.
    """
    size = max(1, round(_FRAME_SECONDS * clip.rate))
    power = _power(clip, size)
    if len(power) < _STEADY_FRAMES:
        return 0, len(clip.samples)
    loud = _mean_of(power, min(len(power), round(_LOUD_SECONDS / _FRAME_SECONDS))).max()
    lowest, highest = (10 * np.log10(loud) + below for below in _BELOW_SPEECH_DB)
    background = 10 * np.log10(np.percentile(power, 10))
    threshold = 10 ** (np.clip(background + _OVER_NOISE_DB, lowest, highest) / 10)
    steady = _mean_of((power > threshold).astype(np.float64), _STEADY_FRAMES) == 1.0
    heard = np.flatnonzero(steady)
    if not len(heard):
        return 0, len(clip.samples)
    return int(heard[0]) * size, min(len(clip.samples), (int(heard[-1]) + _STEADY_FRAMES) * size)


def _power(clip: Clip, size: int) -> NDArray[np.float64]:
    """Mean square of each frame of `size` samples around its own mean, the last one partial; float64, shape (frames,).

    A recorder's constant offset is not sound.
    """
    samples = clip.samples.astype(np.float64)
    samples = np.pad(samples, (0, -len(samples) % size), mode="edge" if len(samples) else "constant")
    return np.asarray(samples.reshape(-1, size).var(axis=1) + 1e-12)


def _mean_of(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Means over every `width` values next to each other; shape (n - width + 1,)."""
    means: NDArray[np.float64] = np.lib.stride_tricks.sliding_window_view(values, width).mean(axis=1)
    return means
