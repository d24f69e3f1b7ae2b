"""Nearest entries of a codebook."""

from __future__ import annotations

import torch


def nearest(x_td: torch.Tensor, codebook_kd: torch.Tensor) -> torch.Tensor:
    """Index of the entry nearest to each row, in Euclidean distance; the lowest on ties: (t, d) to int64 (t,).

    argmin_j |e_j|² − 2 x·e_j in float32 (spec 30 §5.5, §6.2): the row's own length changes nothing.
    """
    distance_tk = codebook_kd.square().sum(1) - 2 * (x_td @ codebook_kd.T)
    return distance_tk.argmin(1)
