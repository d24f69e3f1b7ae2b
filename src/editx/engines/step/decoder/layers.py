"""Linear layers and causal convolutions that hold the checkpoint's parameters until they are packed for the device."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.conv_kernel import ConvKernel
from editx.engines.step.packed import PackedMatrix, packable


def parameter(*shape: int) -> nn.Parameter:
    """An uninitialised parameter that no gradient is ever taken of."""
    return nn.Parameter(torch.empty(*shape), requires_grad=False)


class Linear(nn.Module):
    """y = x W^T + b over the last axis. `weight` (out, in), `bias` (out,) or None."""

    weight: Tensor
    bias: Tensor | None

    def __init__(self, inputs: int, outputs: int, *, bias: bool = True) -> None:
        super().__init__()
        self.inputs, self.outputs = inputs, outputs
        self.weight = parameter(outputs, inputs)
        self.bias = parameter(outputs) if bias else None
        self._packed: PackedMatrix | None = None

    @classmethod
    def joined(cls, *layers: Linear) -> Linear:
        """One layer whose outputs are those of `layers`, one after another."""
        first = layers[0]
        with torch.device("meta"):
            joined = cls(first.inputs, sum(layer.outputs for layer in layers))
        joined.weight = nn.Parameter(torch.cat([layer.weight for layer in layers]), requires_grad=False)
        joined.bias = nn.Parameter(torch.cat([cast("Tensor", layer.bias) for layer in layers]), requires_grad=False)
        return joined

    @property
    def dtype(self) -> torch.dtype:
        """What the layer computes in; what is packed is float32."""
        return self.weight.dtype if self._packed is None else torch.float32

    def pack(self) -> None:
        """Replace the weight by its packed copy. From here on the layer only runs."""
        if self._packed is None and packable(self.weight):
            self._packed = PackedMatrix(self.weight, rows=1024)
            del self.weight

    def forward(self, x: Tensor, *, gelu: bool = False) -> Tensor:
        """x (..., in) -> (..., out) in the weight's dtype; with `gelu`, followed by the tanh approximation of GELU."""
        if self._packed is not None:
            return self._packed.multiply(x, self.bias, gelu=gelu)
        y = F.linear(x.to(self.weight.dtype), self.weight, self.bias)
        return F.gelu(y, approximate="tanh") if gelu else y


class Conv(nn.Module):
    """A valid convolution along time of frames (B, T, in) -> (B, T-k+1, out). `weight` (out, in, k), `bias` (out,).

    Frames stay channels-last: a strided view gives the convolution (B, in, 1, T) without a copy.
    """

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int, kernel: int) -> None:
        super().__init__()
        self.weight = parameter(outputs, inputs, kernel)
        self.bias = parameter(outputs)
        self._kernel: ConvKernel | None = None

    def pack(self) -> None:
        """Replace the weight by its packed copy. From here on the layer only runs."""
        if self._kernel is None and packable(self.weight):
            self._kernel = ConvKernel(self.weight, self.bias)
            del self.weight

    def forward(self, x_btc: Tensor) -> Tensor:
        x_bc1t = x_btc.transpose(1, 2).unsqueeze(2)
        if self._kernel is not None:
            y = self._kernel(x_bc1t)
        else:
            y = F.conv2d(x_bc1t.to(self.weight.dtype), self.weight.unsqueeze(2), self.bias)
        return y.squeeze(2).transpose(1, 2)


class LayerNorm(nn.Module):
    """Affine layer norm over the last axis, in fp32."""

    weight: Tensor
    bias: Tensor

    def __init__(self, size: int, eps: float) -> None:
        super().__init__()
        self.weight, self.bias = parameter(size), parameter(size)
        self._size, self._eps = (size,), eps

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x.float(), self._size, self.weight, self.bias, self._eps)
