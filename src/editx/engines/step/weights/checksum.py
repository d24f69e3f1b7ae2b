"""A checksum that costs nothing beside reading: the sum of a tensor's 64-bit words.

It is for disks and copies that lose bytes, not for people who change them: any flipped bit, and any stretch that was
never written, changes it. Sums of pieces add up, so threads that read pieces need no order between them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

import numpy as np

SUMS = "word_sums"
"""Where the metadata of a safetensors file states the sums of its tensors, as JSON."""
WORD = 8
_DIGITS = len(str(2**64 - 1))
_MASK = 2**64 - 1


def word_sum(data: memoryview | bytes, at: int = 0) -> int:
    """The sum of the little-endian 64-bit words of `data` modulo 2**64, both ends filled up with zero bytes.

    `at`: where in its tensor the piece begins, in bytes, for one that begins within a word.
    """
    if within := at % WORD:
        head = int.from_bytes(bytes(data[: WORD - within]), "little") << (8 * within)
        return add(head, word_sum(data[WORD - within :]))
    whole = len(data) // WORD * WORD
    total = int(np.add.reduce(np.frombuffer(data, "<u8", count=whole // WORD), dtype=np.uint64))
    return (total + int.from_bytes(bytes(data[whole:]), "little")) & _MASK


def sums_text(sums: Mapping[str, int]) -> str:
    """What the metadata says; as long for any sums of the same tensors."""
    return "{" + ", ".join(f"{json.dumps(name)}:{total:{_DIGITS + 1}d}" for name, total in sums.items()) + "}"


def add(one: int, other: int) -> int:
    """The sum of two pieces' sums."""
    return (one + other) & _MASK
