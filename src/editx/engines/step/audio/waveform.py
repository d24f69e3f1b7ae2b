"""Prepares a decoded clip for its consumers (spec 30 §2, 60 §1). All arithmetic is float32, on the CPU.

The CPU also where the networks run on a GPU: this takes milliseconds, and what is heard does not depend on the device.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from editx.audio.clip import Clip, Samples
from editx.engines.step.audio.resample import resample
from editx.engines.step.audio.trim import trim
from editx.errors import InvalidRequest, TooLarge

TOKENIZER_RATE = 16_000
PEAK = 0.6
SHORTEST_S = 0.1
LONGEST_UNTRIMMED_S = 600.0


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What both tokenizers hear: float32 samples (n,) at 16 kHz, level normalised, silence trimmed at both ends.

    `seconds`: how much of the recording that is, without the margins that trimming puts around it.
    """

    samples: Samples
    seconds: float


def to_mono(x_cn: torch.Tensor) -> torch.Tensor:
    """Mean of the channels: float32 (channels, n) to (1, n)."""
    return x_cn if x_cn.shape[0] == 1 else x_cn.mean(0, keepdim=True)


def cap_peak(x: torch.Tensor) -> torch.Tensor:
    """Bring a peak above 0.6 down to 0.6; quieter sound stays as it is. Any shape (spec 30 §2.2)."""
    peak = x.abs().max() if x.numel() else torch.zeros(())
    return x / peak * PEAK if peak > PEAK else x


def normalise_level(x: Samples) -> Samples:
    """Bring the peak to 0.999, peaks below 0.01 counting as 0.01: first division, then product (spec 30 §2.4)."""
    peak = np.maximum(np.abs(x).max(initial=np.float32(0)), np.float32(0.01))
    return np.asarray(x / peak * np.float32(0.999), np.float32)


def capped(clip: Clip) -> torch.Tensor:
    """The clip's sound with its peak capped: float32 (n,) at the clip's own rate, for every consumer of a clip.

    Raises InvalidRequest for less than 0.1 s of sound and for pure silence, TooLarge for more than 10 minutes.
    """
    if clip.seconds < SHORTEST_S:
        raise InvalidRequest(
            f"the recording is {clip.seconds:.3f} s long; give at least {SHORTEST_S} s, better 3 to 30 s", param="audio"
        )
    if clip.seconds > LONGEST_UNTRIMMED_S:
        raise TooLarge(
            f"the recording is {clip.seconds:.0f} s long and at most {LONGEST_UNTRIMMED_S:.0f} s are read; cut it",
            param="audio",
        )
    if not clip.samples.any():
        raise InvalidRequest("the recording is silent; send one with speech in it", param="audio")
    return cap_peak(torch.from_numpy(np.array(clip.samples)))


def prepare(clip: Clip) -> Prepared:
    """Cap, resample to 16 kHz, normalise the level and trim (spec 30 §2). Raises as `capped` and `resample` do."""
    x = resample(capped(clip), clip.rate, TOKENIZER_RATE)
    trimmed = trim(normalise_level(x.numpy()))
    return Prepared(trimmed.samples, (trimmed.end - trimmed.start) / TOKENIZER_RATE)
