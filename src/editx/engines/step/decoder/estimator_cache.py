"""What a session keeps of the estimator: keys, values and conv contexts of every step and block (spec 40 §12.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

CONV_CONTEXT = 2


@dataclass(frozen=True, slots=True)
class BlockCache:
    """Views for one block in one step. `kv` (2, B, heads, capacity, d); `convs` (2, B, 2, C): the inputs of the two
    convolutions. `length` frames of `kv` are filled; `store` says whether this chunk is to be kept."""

    kv: Tensor
    convs: Tensor
    length: int
    store: bool

    def extend(self, k_bhtd: Tensor, v_bhtd: Tensor) -> tuple[Tensor, Tensor]:
        """All keys and values this chunk may look at."""
        old, end = self.length, self.length + k_bhtd.shape[2]
        if not self.store:
            k = torch.cat([self.kv[0, :, :, :old], k_bhtd], dim=2)
            return k, torch.cat([self.kv[1, :, :, :old], v_bhtd], dim=2)
        self.kv[0, :, :, old:end] = k_bhtd
        self.kv[1, :, :, old:end] = v_bhtd
        return self.kv[0, :, :, :end], self.kv[1, :, :, :end]


class EstimatorCache:
    """One session's buffers, allocated once and written in place.

    Attention does not depend on the order of its keys, so frames stay where they were written; only which frames are
    kept follows the reference. `kv` is (steps, depth, 2, rows, heads, capacity, d), `convs` (steps, depth, 2, rows, 2,
    C).
    """

    def __init__(
        self, *, steps: int, depth: int, heads: int, head_size: int, width: int, capacity: int,
        device: torch.device, dtype: torch.dtype, rows: int = 2,
    ) -> None:  # fmt: skip
        self.kv = torch.empty(steps, depth, 2, rows, heads, capacity, head_size, device=device, dtype=dtype)
        self.convs = torch.zeros(steps, depth, 2, rows, CONV_CONTEXT, width, device=device, dtype=dtype)
        self.prompt = 0
        self.chunks: list[list[int]] = []
        """The slots of the frames of each later chunk that is still kept, newest chunk first."""

    @property
    def length(self) -> int:
        """Frames held."""
        return self.prompt + sum(map(len, self.chunks))

    @property
    def capacity(self) -> int:
        return self.kv.shape[5]

    def block(self, step: int, block: int, rows: slice, *, store: bool) -> BlockCache:
        return BlockCache(self.kv[step, block, :, rows], self.convs[step, block, :, rows], self.length, store)

    def advance(self, frames: int) -> None:
        """Count the chunk every step has just stored; the first one is the prompt."""
        if not self.prompt:
            self.prompt = frames
        else:
            self.chunks.insert(0, list(range(self.length, self.length + frames)))

    def truncate(self, context: int, *, latest: bool) -> None:
        """Keep the prompt and `context` frames of what followed.

        The reference's order is newest chunk first with frames forward inside a chunk, and it keeps the head of it: of
        a chunk kept in part, the earliest frames. `latest` keeps the latest ones instead.
        """
        kept: list[list[int]] = []
        room = context
        for chunk in self.chunks:
            take = min(room, len(chunk))
            if take:
                kept.append(chunk[len(chunk) - take :] if latest else chunk[:take])
            room -= take
        self.chunks = kept
        length = self.length
        used = {slot for chunk in kept for slot in chunk}
        holes = [slot for slot in range(self.prompt, length) if slot not in used]
        if not holes:
            return
        stragglers = sorted(slot for slot in used if slot >= length)
        target = torch.tensor(holes, device=self.kv.device)
        source = torch.tensor(stragglers, device=self.kv.device)
        for step in self.kv:
            step.index_copy_(4, target, step.index_select(4, source))
        moved = dict(zip(stragglers, holes, strict=True))
        self.chunks = [[moved.get(slot, slot) for slot in chunk] for chunk in kept]
