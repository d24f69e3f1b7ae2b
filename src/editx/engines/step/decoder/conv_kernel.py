"""A convolution's weight as the library computes fastest with it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.packed import packable


class ConvKernel:
    """A convolution along time of (B, in, 1, T) -> (B, out, 1, T'), both channels-last. Holds a copy of the weight.

    Two-dimensional with a height of one, because that is what the libraries have channels-last kernels for; it saves
    their reordering of a plain (B, C, T) signal on every call.
    """

    def __init__(
        self, weight_oik: Tensor, bias: Tensor | None, *, stride: int = 1, padding: int = 0, dilation: int = 1,
        packed: bool = True,
    ) -> None:  # fmt: skip
        weight = weight_oik.detach().unsqueeze(2).clone(memory_format=torch.channels_last)
        self._stride, self._padding, self._dilation = [1, stride], [0, padding], [1, dilation]
        self._packed = packed and packable(weight)
        if self._packed:
            weight = torch.ops.mkldnn._reorder_convolution_weight(
                weight, self._padding, self._stride, self._dilation, 1, [1, weight.shape[1], 1, 1024]
            )
        self._weight, self._bias = weight, bias

    def __call__(self, x_bc1t: Tensor) -> Tensor:
        geometry = self._padding, self._stride, self._dilation
        if self._packed:
            y: Tensor = torch.ops.mkldnn._convolution_pointwise(
                x_bc1t, self._weight, self._bias, *geometry, 1, "none", [], ""
            )
            return y
        return F.conv2d(x_bc1t, self._weight, self._bias, self._stride, self._padding, self._dilation)
