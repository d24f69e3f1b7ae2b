"""The decoder's dtype policy, stated here and nowhere else (spec 40 §13, 50 §10).

The reference runs flow and vocoder in fp32, and so do we unless asked otherwise. In a reduced precision only these run
in it: the linear layers, convolutions, attention products and K/V caches of encoder and DiT (`flow`), and the
convolution stack of the vocoder between `conv_pre` and `conv_post` (`vocoder`). Always fp32: layer norms and the
residual stream, softmax, speaker projection, time embedding and modulation vectors, `t`, `dt` and the Euler
accumulator, mel, f0, source phase, STFT and its inverse, `exp` and `sin` of the spectrum, and the samples. The source
phase is accumulated in fp64 on devices that have it. Whether convolutions may use TF32 is the framework's default.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class Precision:
    """The dtype of the parts that may be reduced."""

    flow: torch.dtype = torch.float32
    vocoder: torch.dtype = torch.float32

    @classmethod
    def reference(cls) -> Precision:
        """fp32 everywhere, as the reference."""
        return cls()

    @classmethod
    def fast(cls, device: torch.device) -> Precision:
        """bfloat16 flow on CUDA, where it halves weights and caches; fp32 elsewhere and for the vocoder."""
        return cls(flow=torch.bfloat16 if device.type == "cuda" else torch.float32)


def phase_dtype(device: torch.device) -> torch.dtype:
    """The dtype the source phase is accumulated in: Metal has no fp64."""
    return torch.float32 if device.type == "mps" else torch.float64
