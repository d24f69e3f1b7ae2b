"""A checksum that costs nothing beside reading: the sum of a tensor's 64-bit words.

It is for disks and copies that lose bytes, not for people who change them: any flipped bit, and any stretch that was
never written, changes it. Sums of pieces add up, so threads that read pieces need no order between them.
"""

from __future__ import annotations

import numpy as np

WORD = 8
_MASK = 2**64 - 1


def word_sum(data: memoryview | bytes) -> int:
    """The sum of the little-endian 64-bit words of `data` modulo 2**64, its end filled up with zero bytes."""
    whole = len(data) // WORD * WORD
    total = int(np.add.reduce(np.frombuffer(data, "<u8", count=whole // WORD), dtype=np.uint64))
    return (total + int.from_bytes(bytes(data[whole:]), "little")) & _MASK


def add(one: int, other: int) -> int:
    """The sum of two pieces' sums."""
    return (one + other) & _MASK
