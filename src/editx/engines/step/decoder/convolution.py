"""Convolutions of the vocoder, on signals (B, C, 1, T) whose memory is channels-last."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.conv_kernel import ConvKernel
from editx.engines.step.decoder.half_rate import HalfRateConv
from editx.engines.step.decoder.layers import parameter


def to_signal(x_bct: Tensor) -> Tensor:
    """(B, C, T) -> (B, C, 1, T), channels-last."""
    return x_bct.transpose(1, 2).contiguous().transpose(1, 2).unsqueeze(2)


def from_signal(x_bc1t: Tensor) -> Tensor:
    """(B, C, 1, T) -> (B, C, T)."""
    return x_bc1t.squeeze(2)


class SignalConv(nn.Module):
    """A convolution along time. `weight` (out, in, k) as in the folded checkpoint, until the layer is prepared."""

    weight: Tensor
    bias: Tensor

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, dilation: int = 1, padding: int = 0
    ) -> None:
        super().__init__()
        self.weight = parameter(outputs, inputs, kernel)
        self.bias = parameter(outputs)
        self._stride, self._dilation, self._padding = stride, dilation, padding
        self._run: ConvKernel | HalfRateConv

    def prepare(self, *, packed: bool, half_rate: bool = False) -> None:
        """Lay the weight out for running, on phases if `half_rate`. From here on the layer only runs."""
        if half_rate:
            self._run = HalfRateConv(self.weight, self.bias, self._dilation, packed=packed)
        else:
            self._run = ConvKernel(
                self.weight, self.bias, stride=self._stride, padding=self._padding, dilation=self._dilation,
                packed=packed,
            )  # fmt: skip
        del self.weight

    def forward(self, x_bc1t: Tensor, odd_length: bool = False) -> Tensor:
        """`odd_length` only matters to a convolution on phases."""
        if isinstance(self._run, HalfRateConv):
            return self._run(x_bc1t, odd_length=odd_length)
        return self._run(x_bc1t)


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
