"""Measurements of sound that share no code with what they measure."""

from __future__ import annotations

import numpy as np

from editx.audio.clip import Clip


def median_f0(clip: Clip, low: float = 60.0, high: float = 500.0) -> float:
    """Median fundamental frequency of the voiced frames, in Hz, by normalised autocorrelation."""
    size, hop = round(0.05 * clip.rate), round(0.01 * clip.rate)
    shortest, longest = int(clip.rate / high), int(clip.rate / low)
    loud = 0.1 * float(np.sqrt(np.mean(clip.samples**2)))
    found = []
    for start in range(0, len(clip.samples) - size, hop):
        frame = clip.samples[start : start + size].astype(np.float64)
        frame -= frame.mean()
        if np.sqrt(np.mean(frame**2)) < loud:
            continue
        spectrum = np.fft.rfft(frame, 2 * size)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:size]
        # Fewer samples overlap at longer lags; without the correction the first peak always wins.
        correlation /= np.arange(size, 0, -1)
        lags = correlation[shortest:longest]
        peak = lags.max()
        if peak < 0.5 * correlation[0]:
            continue
        first = int(np.argmax(lags > 0.9 * peak))
        best = first + int(np.argmax(lags[first : first + shortest]))
        found.append(clip.rate / (shortest + best))
    assert found, "there is no voiced frame"
    return float(np.median(found))
