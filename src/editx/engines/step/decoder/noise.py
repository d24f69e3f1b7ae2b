"""Where the decoder's randomness comes from: a function of the request's seed alone (spec 40 §10, 50 §5)."""

from __future__ import annotations

import hashlib
import threading
from typing import Protocol

import torch
from torch import Tensor

_BLOCK = 256


class Noise(Protocol):
    """Standard normal numbers for one request, fp32."""

    def flow(self, start: int, frames: int) -> Tensor:
        """Frames start..start+frames of one endless noise: (1, 80, frames). Any call for a frame gives the same."""
        ...

    def vocoder(self, samples: int, harmonics: int) -> Tensor:
        """The next draw of (1, samples, harmonics)."""
        ...


class SeededNoise:
    """The noise of `seed`. The flow's is drawn on the CPU, in blocks as far as it is needed, so it never runs out and
    is the same on every device; the vocoder's is drawn on `device`, because it is megabytes per second. Thread-safe."""

    def __init__(self, seed: int, device: torch.device, mels: int = 80) -> None:
        self._flow_generator = torch.Generator().manual_seed(_derived(seed, "flow"))
        self._vocoder_generator = torch.Generator(device).manual_seed(_derived(seed, "vocoder"))
        self._device = device
        self._frames = torch.empty(0, mels)
        self._lock = threading.Lock()

    def flow(self, start: int, frames: int) -> Tensor:
        with self._lock:
            missing = start + frames - len(self._frames)
            if missing > 0:
                blocks = -(-missing // _BLOCK)
                new = [
                    torch.randn(_BLOCK, self._frames.shape[1], generator=self._flow_generator) for _ in range(blocks)
                ]
                self._frames = torch.cat([self._frames, *new])
            return self._frames[start : start + frames].t()[None].to(self._device)

    def vocoder(self, samples: int, harmonics: int) -> Tensor:
        with self._lock:
            return torch.randn(1, samples, harmonics, generator=self._vocoder_generator, device=self._device)


def _derived(seed: int, purpose: str) -> int:
    """A seed of its own for each purpose, so that the streams do not repeat each other."""
    digest = hashlib.sha256(f"{purpose}:{seed}".encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1
