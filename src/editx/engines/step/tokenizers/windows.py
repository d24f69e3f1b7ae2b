"""Where every row of the linguistic encoder's windows comes from, so that all chunks of all clips run at once.

The streaming encoder works on chunks of four rows, each with the five rows before it, and attends to sixteen cached
rows of earlier chunks. Within one layer a chunk needs of the others only keys and values made from the same layer's
input, so all of them can advance together, layer by layer (spec 30 §5.3 and §5.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from editx.engines.step.tokenizers.linguistic_features import CHUNK_ROWS

LEFT = 5
ROWS = LEFT + CHUNK_ROWS
LOOK_BACK = 4
CACHED = LOOK_BACK * CHUNK_ROWS


@dataclass(frozen=True, slots=True, eq=False)
class Windows:
    """Index tables for C chunks in all; clips follow each other and never see each other.

    `rows` int64 (C, 9): row of the concatenated input, −1 where there is none. `keys` int64 (C, 25): what a chunk
    attends to, as an index into the C · 9 window rows: sixteen cached rows, then its own. `attended` bool (C, 25).
    `valid` bool (C, 9), or None when all are: rows that exist or stand before the first. `own` int64 (rows of input,):
    where each input row's result is among the window rows.
    """

    rows: torch.Tensor
    keys: torch.Tensor
    attended: torch.Tensor
    valid: torch.Tensor | None
    own: torch.Tensor

    @property
    def chunks(self) -> int:
        return self.rows.shape[0]


def windows(lengths: Sequence[int], device: torch.device) -> Windows:
    """Windows of clips with these many input rows each."""
    counts = [-(-length // CHUNK_ROWS) for length in lengths]
    chunk = np.concatenate([np.arange(count) for count in counts])  # within its clip
    first_chunk = np.repeat(np.cumsum([0, *counts[:-1]]), counts)
    first_row = np.repeat(np.cumsum([0, *lengths[:-1]]), counts)
    length = np.repeat(lengths, counts)

    place = CHUNK_ROWS * chunk[:, None] - LEFT + np.arange(ROWS)
    exists = place < length[:, None]
    rows = np.where(exists & (place >= 0), first_row[:, None] + place, -1)

    back = np.repeat(np.arange(-LOOK_BACK, 0), CHUNK_ROWS)
    source = chunk[:, None] + back
    cached = np.maximum(first_chunk[:, None] + source, 0) * ROWS + np.tile(np.arange(CHUNK_ROWS), LOOK_BACK)
    index = np.arange(len(chunk))[:, None] * ROWS + np.arange(ROWS)
    own = index[:, LEFT:][exists[:, LEFT:]]

    def table(values: np.typing.NDArray[np.generic]) -> torch.Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)

    return Windows(
        rows=table(rows),
        keys=table(np.concatenate([cached, index], 1)),
        attended=table(np.concatenate([source >= 0, exists], 1)),
        valid=None if exists.all() else table(exists),
        own=table(own),
    )
