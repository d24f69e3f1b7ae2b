"""What the linguistic encoder is fed: filter bank, seven frames stacked every six, mean and variance normalised.

Spec 30 §5.1 and §5.2. All of a clip at once; the rows are those of the chunked front end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch

from editx.engines.step.audio.fbank import BINS, fbank, frame_count
from editx.errors import LoadFailed

STACKED, STEP = 7, 6
WIDTH = STACKED * BINS
CHUNK_SAMPLES = 3840
CHUNK_ROWS = 4
_INT16 = 32768.0


def code_count(samples: int) -> int:
    """How many codes a clip of `samples` at 16 kHz has: the closed form of spec 30 §5.2."""
    chunks = samples // CHUNK_SAMPLES
    left = frame_count(samples) - (24 * chunks - 2 if chunks else 0)
    if chunks:
        return 4 * chunks + (0 if left < 6 else math.ceil((left - 2) / 6))
    return 0 if left < 4 else math.ceil(left / 6)


@dataclass(frozen=True, slots=True, eq=False)
class Cmvn:
    """Row normalisation, (row + shift) · scale: both float32 (560,)."""

    shift: torch.Tensor
    scale: torch.Tensor

    def to(self, device: torch.device) -> Cmvn:
        return Cmvn(self.shift.to(device), self.scale.to(device))


def read_cmvn(path: Path) -> Cmvn:
    """Read Kaldi's text form (`am.mvn`). Raises LoadFailed, naming the file, for anything but two vectors of 560."""
    try:
        lines = path.read_text(encoding="ascii").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(f"{path} cannot be read: {error}; put the published file there") from error
    return Cmvn(_vector(path, lines, "<AddShift>"), _vector(path, lines, "<Rescale>"))


def _vector(path: Path, lines: list[str], mark: str) -> torch.Tensor:
    """The numbers between the brackets of the line after the one that begins with `mark`."""
    following = next((lines[at + 1] for at, line in enumerate(lines[:-1]) if line.startswith(mark)), "")
    try:
        values = torch.tensor([float(word) for word in following.split()[3:-1]])
    except ValueError as error:
        raise LoadFailed(f"{path} has a word among the numbers of {mark}; fetch the published file again") from error
    if len(values) != WIDTH or not bool(values.isfinite().all()):
        raise LoadFailed(
            f"{path} has {int(values.isfinite().sum())} finite numbers after {mark} where {WIDTH} are expected; "
            "fetch the published file again"
        )
    return values


def linguistic_features(x_n: torch.Tensor, cmvn: Cmvn) -> torch.Tensor:
    """float32 (n,) at 16 kHz, ±1, to rows (code_count(n), 560), on the tensor's device.

    Three copies of the first frame stand in front; past the end the last frame is repeated.
    """
    rows = code_count(x_n.shape[0])
    if not rows:
        return x_n.new_zeros(0, WIDTH)
    frames_fm = fbank(x_n * _INT16, "hamming")
    first = STEP * torch.arange(rows, device=x_n.device) - STACKED // 2
    index = (first[:, None] + torch.arange(STACKED, device=x_n.device)).clamp(0, len(frames_fm) - 1)
    return (frames_fm[index].flatten(1) + cmvn.shift) * cmvn.scale
