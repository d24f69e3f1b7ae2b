"""The 24 kHz log-mel spectrogram that tells the flow how a voice sounds (spec 60 §3)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from editx.engines.step.audio.mel import slaney_filters
from editx.engines.step.decoder.config import MelConfig


def prompt_mel(x_n: torch.Tensor, config: MelConfig) -> torch.Tensor:
    """float32 (n,) at the configured rate, n > 720, to (1, n // 480, 80) of natural log, on the tensor's device."""
    margin = (config.n_fft - config.hop_size) // 2
    padded = F.pad(x_n[None], (margin, margin), mode="reflect")[0]
    window = torch.hann_window(config.win_size, periodic=True, dtype=x_n.dtype, device=x_n.device)
    spectrum = torch.stft(
        padded, config.n_fft, config.hop_size, config.win_size, window=window, center=False, return_complex=True
    )
    magnitude_ft = (spectrum.real.square() + spectrum.imag.square() + 1e-9).sqrt()
    filters = slaney_filters(config.sampling_rate, config.n_fft, config.num_mels, config.fmin, config.fmax)
    return (filters.to(x_n) @ magnitude_ft).clamp_min(1e-5).log().T[None]
