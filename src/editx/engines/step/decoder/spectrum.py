"""The tiny STFT at both ends of the HiFT decoder (spec 50 §6): periodic Hann, centred with reflection, one-sided."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Spectrum(nn.Module):
    """Waveform to real and imaginary rows and back. The window is a buffer, so that it moves with the module."""

    window: Tensor

    def __init__(self, n_fft: int, hop: int) -> None:
        super().__init__()
        self.n_fft, self.hop = n_fft, hop
        # Made on the CPU even where modules are built on the meta device: there torch would import its compiler for it.
        self.register_buffer("window", torch.hann_window(n_fft, periodic=True, device="cpu"), persistent=False)

    def analyse(self, wave_bs: Tensor) -> Tensor:
        """(B, S) -> (B, n_fft + 2, S // hop + 1): real rows, then imaginary rows."""
        spectrum = torch.stft(
            wave_bs, self.n_fft, self.hop, self.n_fft, self.window, center=True, pad_mode="reflect", return_complex=True
        )
        return torch.cat([spectrum.real, spectrum.imag], dim=1)

    def synthesise(self, magnitude_bft: Tensor, phase_bft: Tensor) -> Tensor:
        """fp32 magnitude and phase (B, n_fft/2 + 1, T) -> (B, hop * (T - 1))."""
        spectrum = torch.polar(magnitude_bft.contiguous(), phase_bft.contiguous())
        return torch.istft(spectrum, self.n_fft, self.hop, self.n_fft, self.window, center=True)
