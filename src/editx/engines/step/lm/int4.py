"""A linear layer whose weights stay int4: compressed-tensors' `pack-quantized` layout (spec 10 §6)."""

from __future__ import annotations

import logging

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.lm.int4_kernel import KernelWeights, kernel_takes
from editx.errors import LoadFailed

_log = logging.getLogger(__name__)

PER_WORD = 8
"""Weights in one int32, the first in its lowest four bits."""
_MIDDLE = 8


def unpack(words: Tensor) -> Tensor:
    """int32 (rows, n / 8) to the numbers 0 to 15 it holds: int8 (rows, n)."""
    # The lowest byte of a word comes first in memory, and of a byte the lower half.
    pairs = words.contiguous().view(torch.uint8)
    return torch.stack([pairs & 15, pairs >> 4], dim=-1).flatten(-2).view(torch.int8)


def pack(numbers: Tensor) -> Tensor:
    """The inverse of `unpack`: 0 to 15 (rows, n) to int32 (rows, n / 8)."""
    shifts = torch.arange(0, 32, 4, dtype=torch.int64, device=numbers.device)
    words = (numbers.to(torch.int64).reshape(*numbers.shape[:-1], -1, PER_WORD) << shifts).sum(-1)
    return torch.where(words >= 1 << 31, words - (1 << 32), words).to(torch.int32)


def dequantize(packed: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Weights (out, in) in the dtype of `scale`.

    packed: int32 (out, in / 8). scale: (out, in / group). zero: int32 (out / 8, in / group), packed along the output
    axis; None means the middle, 8.
    """
    out, groups = scale.shape
    numbers_ogi = unpack(packed).view(out, groups, -1)
    zero_og1 = _MIDDLE if zero is None else unpack(zero.T.contiguous()).T[:out, :, None]
    centred_ogi = numbers_ogi - zero_og1
    return (centred_ogi.to(scale.dtype) * scale[:, :, None]).flatten(1)


class Int4Linear(torch.nn.Module):
    """x W^T with W in four bits; keys `weight_packed`, `weight_scale`, `weight_shape` and, where asymmetric,
    `weight_zero_point`.

    Call `prepare` once the weights are there: where torch has a kernel for them they are laid out for it, and the
    published layout is given back. Until then, and without a kernel, W is written out in every call (`devices` says
    where it is written out for good).
    """

    weight_packed: Tensor
    weight_scale: Tensor
    weight_shape: Tensor
    weight_zero_point: Tensor

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        group_size: int,
        symmetric: bool,
        kernel: bool,
        device: torch.device,
        dtype: torch.dtype,
    ) -> None:
        super().__init__()
        if in_features % group_size or group_size % PER_WORD:
            raise LoadFailed(f"groups of {group_size} int4 weights do not fit rows of {in_features}")
        if not symmetric and out_features % PER_WORD:
            raise LoadFailed(f"packed zero points do not fit {out_features} rows; the number should be a multiple of 8")
        self.in_features, self.out_features, self.group_size = in_features, out_features, group_size
        self.symmetric, self.kernel, self.dtype = symmetric, kernel, dtype
        groups = in_features // group_size
        scale = torch.empty(out_features, groups, dtype=torch.bfloat16, device=device)
        self.register_buffer(
            "weight_packed", torch.empty(out_features, in_features // PER_WORD, dtype=torch.int32, device=device)
        )
        self.register_buffer("weight_scale", scale)
        self.register_buffer("weight_shape", torch.tensor([out_features, in_features], dtype=torch.int64))
        if not symmetric:
            zero = torch.empty(out_features // PER_WORD, groups, dtype=torch.int32, device=device)
            self.register_buffer("weight_zero_point", zero)
        self.laid_out: KernelWeights | None = None
        """The weights as the kernel wants them; the published layout is given back then."""

    @property
    def device(self) -> torch.device:
        return self.weight_packed.device

    @property
    def has_kernel(self) -> bool:
        """Whether its weights are multiplied as they are."""
        return self.laid_out is not None

    def dequantized(self) -> Tensor:
        """W, (out, in), in the dtype of the scales, as the published layout states it."""
        return dequantize(self.weight_packed, self.weight_scale, None if self.symmetric else self.weight_zero_point)

    def prepare(self, name: str) -> None:
        """Lay the weights out for the kernel, if it can take them and agrees with W.

        Raises LoadFailed, naming the projection `name`, for a stated shape that is not the model's.
        """
        if self.laid_out is not None:
            return
        if self.weight_shape.tolist() != [self.out_features, self.in_features]:
            raise LoadFailed(
                f"{name}.weight_shape says {self.weight_shape.tolist()} and the model needs "
                f"{[self.out_features, self.in_features]}; fetch the published checkpoint again"
            )
        device = self.weight_packed.device
        wanted = self.kernel and self.symmetric and self.dtype == torch.bfloat16
        if not wanted or not kernel_takes(self.in_features, self.out_features, self.group_size, device):
            return
        laid_out = KernelWeights.lay_out(unpack(self.weight_packed), self.weight_scale, self.group_size)
        if not self._agrees(laid_out):
            _log.warning("torch's int4 product is wrong on %s; int4 weights are written out instead", device)
            return
        self.laid_out = laid_out
        self.weight_packed = torch.empty(0, dtype=torch.int32, device=device)
        self.weight_scale = torch.empty(0, dtype=torch.bfloat16, device=device)

    def forward(self, x: Tensor) -> Tensor:
        if self.laid_out is None:
            return F.linear(x, self.dequantized().to(x.dtype))
        return self.laid_out.multiply(x)

    def _agrees(self, laid_out: KernelWeights) -> bool:
        """Whether the kernel's product with the first rows is theirs, to the rounding of bfloat16."""
        x = torch.sin(torch.arange(2 * self.in_features, dtype=torch.float32)).view(2, -1)
        x = x.to(self.weight_packed.device, torch.bfloat16)
        rows = slice(0, 64)
        expected = F.linear(x.float(), dequantize(self.weight_packed[rows], self.weight_scale[rows]).float())
        difference = (laid_out.multiply(x)[:, rows].float() - expected).abs().max()
        return bool(difference <= 0.02 * expected.abs().max())
