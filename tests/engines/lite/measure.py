"""Measurements of speech written for these tests alone: they share no code with the engine."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

RATE = 24_000


def frames(x: NDArray, size: int, hop: int) -> NDArray:
    """Windows of `size` samples every `hop`; shape (n, size)."""
    if len(x) < size:
        x = np.pad(x, (0, size - len(x)))
    return np.lib.stride_tricks.sliding_window_view(np.asarray(x, dtype=np.float64), size)[::hop]


def pitch_track(x: NDArray, low: float = 55.0, high: float = 750.0) -> NDArray:
    """F0 in Hz every 10 ms by normalised autocorrelation, 0 where unvoiced; a median filter removes stray frames."""
    size, hop = 1200, 240
    windows = frames(x, size, hop)
    power = (windows**2).mean(axis=1)
    windows = (windows - windows.mean(axis=1, keepdims=True)) * np.hanning(size)
    spectrum = np.abs(np.fft.rfft(windows, 4096, axis=1)) ** 2
    correlation = np.fft.irfft(spectrum, axis=1)[:, : size // 2 + 1]
    own = np.fft.irfft(np.abs(np.fft.rfft(np.hanning(size), 4096)) ** 2)[: size // 2 + 1]
    correlation = correlation / np.maximum(correlation[:, :1], 1e-12) / (own / own[0])
    first, last = int(RATE / high), min(int(RATE / low), size // 2 - 1)
    here = correlation[:, first:last]
    peaks = (here >= correlation[:, first - 1 : last - 1]) & (here > correlation[:, first + 1 : last + 1])
    heights = np.where(peaks, here, 0.0)
    best = heights.max(axis=1)
    # the shortest good period: its multiples correlate as well
    lag = first + np.argmax(heights > 0.9 * best[:, None], axis=1)
    row = np.arange(len(windows))
    left, mid, right = (correlation[row, lag + step] for step in (-1, 0, 1))
    period = lag + 0.5 * (left - right) / (left - 2 * mid + right - 1e-12)
    voiced = (power > np.percentile(power, 98) * 10**-3.5) & (best >= 0.6)
    track = np.where(voiced, RATE / period, 0.0)
    padded = np.pad(track, 2)
    return np.median(np.lib.stride_tricks.sliding_window_view(padded, 5), axis=1)


def median_pitch(x: NDArray) -> float:
    """Median F0 in Hz of the voiced frames, 0 where there is none."""
    track = pitch_track(x)
    return float(np.median(track[track > 0])) if track.any() else 0.0


def pitch_range_st(x: NDArray) -> float:
    """Distance between the 10th and 90th percentile of F0 in semitones, 0 where nothing is voiced."""
    track = pitch_track(x)
    if not track.any():
        return 0.0
    low, high = np.percentile(track[track > 0], [10, 90])
    return float(12 * np.log2(high / low))


def voiced_share(x: NDArray) -> float:
    """Share of the loud frames in which a pitch is found."""
    power = (frames(x, 1200, 240) ** 2).mean(axis=1)
    loud = power > np.percentile(power, 98) * 10**-2.5
    return float((pitch_track(x)[loud] > 0).mean())


def level_db(x: NDArray) -> float:
    """Mean level of blocks of 0.1 s within 20 dB of the loud ones: the level of the speech without its pauses."""
    power = (frames(x, 2400, 600) ** 2).mean(axis=1)
    return float(10 * np.log10(power[power > np.percentile(power, 95) / 100].mean() + 1e-20))


def long_term_spectrum(x: NDArray) -> tuple[NDArray, NDArray]:
    """Frequencies and mean power spectrum."""
    spectrum = np.abs(np.fft.rfft(frames(x, 1024, 256) * np.hanning(1024), axis=1)) ** 2
    return np.fft.rfftfreq(1024, 1 / RATE), spectrum.mean(axis=0)


def brightness(x: NDArray) -> float:
    """Centre of gravity of log frequency, in octaves, between 300 Hz and 8 kHz of the amplitude spectrum."""
    frequency, power = long_term_spectrum(x)
    band = (frequency > 300) & (frequency < 8000)
    weight = np.sqrt(power[band]) / frequency[band]
    return float((np.log2(frequency[band]) * weight).sum() / weight.sum())


def snr_db(clean: NDArray, heard: NDArray) -> float:
    """Scale-invariant signal-to-distortion ratio of `heard` against `clean`, in dB."""
    n = min(len(clean), len(heard))
    clean, heard = clean[:n].astype(np.float64), heard[:n].astype(np.float64)
    part = clean * (heard @ clean) / (clean @ clean)
    return float(10 * np.log10((part @ part) / max((heard - part) @ (heard - part), 1e-20)))
