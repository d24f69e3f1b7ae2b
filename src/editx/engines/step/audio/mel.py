"""Mel filter banks: Kaldi's for the two filter-bank front ends, Slaney's for the two log-mel spectrograms."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray

_BREAK_HZ = 1000.0
_LINEAR_HZ = 200.0 / 3
_LOG_STEP = np.log(6.4) / 27


@lru_cache(maxsize=16)
def slaney_filters(rate: int, n_fft: int, mels: int, lowest_hz: float, highest_hz: float) -> torch.Tensor:
    """Triangular filters on Slaney's scale with area norm: float32 (mels, n_fft // 2 + 1), on the CPU (60 §3.4)."""
    edges = _slaney_to_hz(np.linspace(_hz_to_slaney(lowest_hz), _hz_to_slaney(highest_hz), mels + 2))
    bins = np.linspace(0, rate / 2, n_fft // 2 + 1)
    slopes = edges[:, None] - bins[None]
    widths = np.diff(edges)[:, None]
    weights = np.maximum(0, np.minimum(-slopes[:-2] / widths[:-1], slopes[2:] / widths[1:]))
    weights *= (2 / (edges[2:] - edges[:-2]))[:, None]
    return torch.from_numpy(weights.astype(np.float32))


def _hz_to_slaney(hz: float) -> float:
    if hz < _BREAK_HZ:
        return hz / _LINEAR_HZ
    return float(_BREAK_HZ / _LINEAR_HZ + np.log(hz / _BREAK_HZ) / _LOG_STEP)


def _slaney_to_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    corner = _BREAK_HZ / _LINEAR_HZ
    return np.where(mel < corner, mel * _LINEAR_HZ, _BREAK_HZ * np.exp(_LOG_STEP * (mel - corner)))


@lru_cache(maxsize=4)
def kaldi_filters(rate: int = 16_000, n_fft: int = 512, mels: int = 80, lowest_hz: float = 20.0) -> torch.Tensor:
    """Triangles that are linear in mel, float32 (mels, n_fft // 2 + 1); the last bin has weight 0 (spec 30 §5.1)."""
    lowest, highest = _hz_to_kaldi(np.array([lowest_hz, rate / 2]))
    edges = np.linspace(lowest, highest, mels + 2)
    bins = _hz_to_kaldi(np.arange(n_fft // 2) * (rate / n_fft))
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    weights = np.maximum(0, np.minimum((bins - left) / (centre - left), (right - bins) / (right - centre)))
    return torch.from_numpy(np.pad(weights, ((0, 0), (0, 1))).astype(np.float32))


def _hz_to_kaldi(hz: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(1127 * np.log(1 + hz / 700), np.float64)
