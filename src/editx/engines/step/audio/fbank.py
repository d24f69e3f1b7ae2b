"""Kaldi's log filter bank without dither (spec 30 §5.1, 60 §4.2)."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch.nn import functional as F

from editx.engines.step.audio.mel import kaldi_filters

FRAME, HOP = 400, 160
BINS = 80
_FFT = 512
_PREEMPHASIS = 0.97
_FLOOR = 1.1920929e-07


def frame_count(samples: int) -> int:
    """How many whole frames of 25 ms every 10 ms fit into `samples` at 16 kHz."""
    return max(0, 1 + (samples - FRAME) // HOP)


def fbank(x_n: torch.Tensor, window: Literal["hamming", "povey"]) -> torch.Tensor:
    """Log energies of 80 mel bands: float32 (n,) at 16 kHz to (frame_count(n), 80), on the tensor's device.

    The scale of `x_n` is the caller's: int16 units for the linguistic tokenizer, ±1 for the speaker embedding.
    """
    frames = frame_count(x_n.shape[-1])
    if not frames:
        return x_n.new_zeros(0, BINS)
    x_tf = x_n.unfold(-1, FRAME, HOP)
    x_tf = x_tf - x_tf.mean(1, keepdim=True)
    before_tf = F.pad(x_tf[:, None], (1, 0), mode="replicate")[:, 0, :-1]
    x_tf = (x_tf - _PREEMPHASIS * before_tf) * _window(window).to(x_n)
    power_tf = torch.fft.rfft(x_tf, _FFT).abs().square()
    energy_tm = power_tf @ kaldi_filters().to(x_n).T
    return energy_tm.clamp_min(_FLOOR).log()


def _window(kind: Literal["hamming", "povey"]) -> torch.Tensor:
    """Symmetric windows of 400 samples, computed in float64, returned as float32."""
    angle = 2 * math.pi * torch.arange(FRAME, dtype=torch.float64) / (FRAME - 1)
    if kind == "hamming":
        return (0.54 - 0.46 * angle.cos()).float()
    return ((0.5 - 0.5 * angle.cos()) ** 0.85).float()
