"""Convolutions of the vocoders, on signals (B, C, 1, T) whose memory is channels-last.

Two-dimensional with a height of one, because that is what the convolution libraries have channels-last kernels for; it
saves their reordering of a plain (B, C, T) signal on every call.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.layers import parameter


def to_signal(x_bct: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T), channels-last."""
    return x_bct.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)


def from_signal(x_bc1t: Tensor) -> Tensor:
    """(B, C, 1, T) -> (B, C, T)."""
    return x_bc1t.squeeze(2)


class SignalConv(nn.Module):
    """A convolution along time. `weight` (out, in, k) as in the folded checkpoint."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int = 0,
        bias: bool = True,
    ) -> None:  # fmt: skip
        super().__init__()
        self.weight = parameter(outputs, inputs, kernel)
        self.bias = parameter(outputs) if bias else None
        self._stride, self._padding, self._dilation = (1, stride), (0, padding), (1, dilation)

    def arrange(self) -> None:
        """Lay the weight out as the kernels read it; its name and shape stay."""
        arranged = self.weight.unsqueeze(2).contiguous(memory_format=torch.channels_last).squeeze(2)
        self.weight = nn.Parameter(arranged, requires_grad=False)

    def forward(self, x_bc1t: Tensor) -> Tensor:
        return F.conv2d(x_bc1t, self.weight.unsqueeze(2), self.bias, self._stride, self._padding, self._dilation)


class SignalUpsample(nn.Module):
    """A transposed convolution along time. `weight` (in, out, k)."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight = parameter(inputs, outputs, kernel)
        self.bias = parameter(outputs)
        self._stride, self._padding = (1, stride), (0, (kernel - stride) // 2)

    def forward(self, x_bc1t: Tensor) -> Tensor:
        y = F.conv_transpose2d(x_bc1t, self.weight.unsqueeze(2), self.bias, self._stride, self._padding)
        return y.contiguous(memory_format=torch.channels_last)
