"""How much audio, and how much work, one upload may cost."""

from __future__ import annotations

from dataclasses import dataclass

MIN_RATE_HZ = 1_000
MAX_RATE_HZ = 384_000
KEPT_RATE_HZ = 48_000
"""The highest rate that is kept: no voice has anything above its half, and memory is for seconds, not rates."""

_DECODER_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class AudioLimits:
    """The most that decoding one file may take; beyond any of these it ends in an error.

    `max_bytes` is the size of the file, `max_seconds` and `max_samples` what it decodes to (mono, at `KEPT_RATE_HZ` or
    below), `max_channels` its layout. `cpu_seconds` and `wall_seconds` bound the child process that does the work.
    """

    max_bytes: int = 100 * 1024 * 1024
    max_seconds: float = 600.0
    max_samples: int = 60_000_000
    max_channels: int = 64
    cpu_seconds: int = 20
    wall_seconds: float = 30.0

    @property
    def most_samples(self) -> int:
        """The most samples that a file may decode to."""
        return min(self.max_samples, int(self.max_seconds * KEPT_RATE_HZ))

    @property
    def address_space_bytes(self) -> int:
        """For the child: its libraries and the decoder's buffers, the file twice and the samples twice."""
        return _DECODER_BYTES + 2 * self.max_bytes + 8 * self.most_samples

    @property
    def output_bytes(self) -> int:
        """The longest answer an honest child gives."""
        return 4 * self.most_samples + 65_536
