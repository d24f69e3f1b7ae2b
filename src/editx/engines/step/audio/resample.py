"""The model's own resampler: Hann-windowed sinc, six zero crossings, roll-off 0.99 (spec 30 §3, 60 §2).

Codes depend on it, so `editx.audio.resample`, which sounds better, is no substitute.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from editx.errors import InvalidRequest

LOWEST_RATE, HIGHEST_RATE = 1_000, 768_000
_CROSSINGS = 6
_ROLLOFF = 0.99
_LARGEST_KERNEL = 2**20  # values; the usual pairs of rates need at most a tenth of it
_GATHERED = 2**20  # values at a time


def resample(x: torch.Tensor, from_rate: int, to_rate: int) -> torch.Tensor:
    """float32 (..., n) at `from_rate` Hz to (..., ⌈n · to_rate / from_rate⌉) at `to_rate` Hz, on the tensor's device.

    The tensor itself if the rates are equal. Raises InvalidRequest for rates outside 1 to 768 kHz.
    """
    for rate in (from_rate, to_rate):
        if not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise InvalidRequest(
                f"a sample rate of {rate} Hz cannot be used; {LOWEST_RATE} to {HIGHEST_RATE} Hz can", param="audio"
            )
    if from_rate == to_rate:
        return x
    divisor = math.gcd(from_rate, to_rate)
    old, new = from_rate // divisor, to_rate // divisor
    length = -(-new * x.shape[-1] // old)
    rows = x.reshape(math.prod(x.shape[:-1]), x.shape[-1])
    taps = 2 * _half_width(old, new) + old
    work = _by_convolution if taps * new <= _LARGEST_KERNEL else _by_gathering
    return work(rows, old, new)[:, :length].reshape(*x.shape[:-1], length)


def _by_convolution(x_bn: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Every phase is one output channel of a strided convolution over all 2w + old taps, as the reference does it."""
    half = _half_width(old, new)
    kernels = dense_kernels(old, new).to(x_bn.device)
    padded = F.pad(x_bn[:, None], (half, half + old))
    return F.conv1d(padded, kernels[:, None], stride=old).transpose(1, 2).flatten(1)


def _by_gathering(x_bn: torch.Tensor, old: int, new: int) -> torch.Tensor:
    """Reads only the taps that are not zero, for rates that share no large divisor: 44 101 Hz has 16 000 phases."""
    half = _half_width(old, new)
    kernels, starts = (table.to(x_bn.device) for table in sparse_kernels(old, new))
    padded = F.pad(x_bn, (half, half + old + kernels.shape[1]))
    blocks = x_bn.shape[-1] // old + 1
    taps = torch.arange(kernels.shape[1], device=x_bn.device)
    step = max(1, _GATHERED // kernels.shape[1])
    pieces = []
    for first in range(0, blocks * new, step):
        index = torch.arange(first, min(first + step, blocks * new), device=x_bn.device)
        phase = index % new
        at = (index // new) * old + starts[phase]
        pieces.append((padded[:, at[:, None] + taps] * kernels[phase]).sum(-1))
    return torch.cat(pieces, -1)


def _half_width(old: int, new: int) -> int:
    return math.ceil(_CROSSINGS * old / (min(old, new) * _ROLLOFF))


def _response(phase: NDArray[np.int64], tap: NDArray[np.int64], old: int, new: int) -> NDArray[np.float32]:
    """h_j[k] of spec 30 §3 for broadcast phases j and taps k − w. The reference rounds −j/n to float32 first."""
    base = min(old, new) * _ROLLOFF
    offset = (-phase / new).astype(np.float32).astype(np.float64)
    t = np.clip((offset + tap / old) * base, -_CROSSINGS, _CROSSINGS)
    window = np.cos(t * math.pi / _CROSSINGS / 2) ** 2
    angle = t * math.pi
    sinc = np.where(angle == 0, 1.0, np.sin(angle) / np.where(angle == 0, 1.0, angle))
    return np.asarray(sinc * window * (base / old), np.float32)


@lru_cache(maxsize=16)
def dense_kernels(old: int, new: int) -> torch.Tensor:
    """Kernels of all phases over all taps, float32 (new, 2w + old). Kept for the last pairs of rates."""
    half = _half_width(old, new)
    return torch.from_numpy(_response(np.arange(new)[:, None], np.arange(-half, half + old)[None], old, new))


@lru_cache(maxsize=4)
def sparse_kernels(old: int, new: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Kernels over their non-zero taps only, float32 (new, 2w + 2), and the first tap of each phase, int64 (new,)."""
    half = _half_width(old, new)
    phase = np.arange(new)
    starts = phase * old // new
    tap = starts[:, None] - half + np.arange(2 * half + 2)[None]
    return torch.from_numpy(_response(phase[:, None], tap, old, new)), torch.from_numpy(starts)
