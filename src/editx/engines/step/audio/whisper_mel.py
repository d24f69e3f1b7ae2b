"""Whisper's log-mel spectrogram with 128 bands, without padding to 30 s (spec 30 §6.1)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from editx.engines.step.audio.mel import slaney_filters

RATE = 16_000
HOP = 160
_FFT = 400


def whisper_log_mel(x_n: torch.Tensor, mels: int = 128) -> torch.Tensor:
    """float32 (n,) at 16 kHz, n > 200, to (mels, n // 160), on the tensor's device.

    Levels are clamped to 8 below the loudest value of the whole input, so each part of a cut clip has its own floor.
    """
    padded = F.pad(x_n[None], (_FFT // 2, _FFT // 2), mode="reflect")[0]
    window = torch.hann_window(_FFT, periodic=True, dtype=x_n.dtype, device=x_n.device)
    spectrum = torch.stft(padded, _FFT, HOP, window=window, center=False, return_complex=True)
    power_ft = spectrum[:, : x_n.shape[0] // HOP].abs().square()
    energy_mt = slaney_filters(RATE, _FFT, mels, 0.0, RATE / 2).to(x_n) @ power_ft
    level_mt = energy_mt.clamp_min(1e-10).log10()
    return (torch.maximum(level_mt, level_mt.max() - 8.0) + 4.0) / 4.0
