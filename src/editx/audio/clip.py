"""The one form in which sound travels inside EditX."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Samples = NDArray[np.float32]


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """Mono sound.

    `samples`: float32, shape (n,), full scale is ±1, contiguous and finite. `rate`: samples per second.
    """

    samples: Samples
    rate: int

    def __post_init__(self) -> None:
        if self.samples.ndim != 1 or self.samples.dtype != np.float32:
            raise TypeError(
                f"a clip holds float32 samples of shape (n,), not {self.samples.dtype} {self.samples.shape}"
            )
        if self.rate <= 0:
            raise ValueError(f"a sample rate is positive, not {self.rate}")

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate

    def digest(self) -> str:
        """Hex digest of rate and samples: the key under which work on this clip can be cached."""
        return hashlib.blake2b(
            np.ascontiguousarray(self.samples).tobytes(), digest_size=16, key=self.rate.to_bytes(4, "little")
        ).hexdigest()

    @staticmethod
    def join(clips: Iterable[Clip]) -> Clip:
        """Append clips of one rate to each other. Raises ValueError for none, or for different rates."""
        parts = list(clips)
        rates = {part.rate for part in parts}
        if len(rates) != 1:
            raise ValueError(f"clips to join need one sample rate, not {sorted(rates)}")
        return Clip(np.concatenate([part.samples for part in parts]), rates.pop())
