"""The harmonic source of the HiFT vocoder: f0 to nine sines and noise, merged into one signal (spec 50 §5)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.config import HiftConfig
from editx.engines.step.decoder.layers import Linear
from editx.engines.step.decoder.precision import phase_dtype


class HarmonicSource(nn.Module):
    """f0 (B, T) in Hz and normal noise (B, hop * T, harmonics + 1) -> source (B, 1, hop * T)."""

    def __init__(self, config: HiftConfig, hop: int) -> None:
        super().__init__()
        self.l_linear = Linear(config.harmonics + 1, 1)
        self._config, self._hop = config, hop

    @property
    def harmonics(self) -> int:
        """Sines per frame, the fundamental included."""
        return self._config.harmonics + 1

    def sines(self, f0_bt: Tensor) -> Tensor:
        """Unit-amplitude sines of all harmonics: (B, hop * T, harmonics).

        The phase is linear between the frame centres and constant before the first and after the last one.
        """
        hop, frames = self._hop, f0_bt.shape[1]
        harmonic = torch.arange(1, self.harmonics + 1, dtype=torch.float32, device=f0_bt.device)
        cycles = torch.remainder(f0_bt[:, :, None] * harmonic / self._config.sampling_rate, 1)
        # Whole cycles may be dropped at frame rate, which keeps the phase small enough for fp32 at sample rate.
        total = torch.cumsum(cycles.to(phase_dtype(f0_bt.device)), dim=1) * hop
        start = torch.remainder(total, 1).float()
        fraction = (torch.arange(hop, dtype=torch.float32, device=f0_bt.device) + 0.5) / hop
        between = start[:, :-1, None] + (cycles[:, 1:] * hop)[:, :, None] * fraction[:, None]
        ends = start[:, :1].expand(-1, hop // 2, -1), start[:, -1:].expand(-1, hop - hop // 2, -1)
        phase = torch.cat([ends[0], between.flatten(1, 2), ends[1]], dim=1)
        assert phase.shape[1] == hop * frames
        return phase.sub_(phase.floor()).mul_(2 * math.pi).sin_()

    def voiced(self, f0_bt: Tensor) -> Tensor:
        """1 where a frame is voiced, else 0: (B, T)."""
        return (f0_bt > self._config.voiced_threshold).float()

    def forward(self, f0_bt: Tensor, noise_bsh: Tensor) -> Tensor:
        config = self._config
        voiced = self.voiced(f0_bt).repeat_interleave(self._hop, dim=1)[:, :, None]
        level = voiced * config.noise_std + (1 - voiced) * (config.sine_amplitude / 3)
        sines = self.sines(f0_bt).mul_(voiced * config.sine_amplitude).addcmul_(noise_bsh, level)
        merged = F.linear(sines, self.l_linear.weight, self.l_linear.bias)
        return torch.tanh_(merged).transpose(1, 2)
