"""Which sizes torch's int4 products take. Imports no torch, so that programs which only count memory stay small."""

from __future__ import annotations

GROUP_SIZES = (32, 64, 128, 256)
ROW_BLOCK = 64


def fits(out_features: int, group_size: int) -> bool:
    """Whether a matrix of `out_features` rows can be laid out for them; on the CPU that is all it takes."""
    return group_size in GROUP_SIZES and out_features % ROW_BLOCK == 0
