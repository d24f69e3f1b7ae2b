"""Weights in the layout that the processor multiplies them in."""

from __future__ import annotations

import torch
from torch import Tensor


def packable(weight: Tensor) -> bool:
    """Whether oneDNN can keep this weight in its own blocked layout, which saves packing it on every call."""
    return weight.device.type == "cpu" and weight.dtype == torch.float32 and torch.backends.mkldnn.is_available()


class PackedMatrix:
    """W of y = x W^T + b, for a `packable` weight (out, in), which it copies.

    `rows`: how many inputs are multiplied at once where it matters; the layout is the best one for so many.
    """

    def __init__(self, weight: Tensor, *, rows: int) -> None:
        self._matrix = torch.ops.mkldnn._reorder_linear_weight(weight.detach(), rows)

    def multiply(self, x: Tensor, bias: Tensor | None = None, *, gelu: bool = False) -> Tensor:
        """x (..., in), fp32 -> (..., out); with `gelu`, followed by the tanh approximation of GELU."""
        kind, how = ("gelu", "tanh") if gelu else ("none", "")
        y: Tensor = torch.ops.mkldnn._linear_pointwise(x, self._matrix, bias, kind, [], how)
        return y
