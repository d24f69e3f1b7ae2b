"""torch's fused product of bfloat16 inputs and int4 weights, on CPUs and on CUDA.

Its weight is (u - 8) * scale + zero with u in 0 to 15; symmetric checkpoints have no zero.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from editx.engines.step.lm.int4_sizes import fits

_CUDA_INNER_TILES = 8
_CUDA_CAPABILITY = (8, 0)


def kernel_takes(in_features: int, out_features: int, group_size: int, device: torch.device) -> bool:
    """Whether there is a kernel for weights of this shape on `device`."""
    if not fits(out_features, group_size):
        return False
    if device.type == "cuda":
        capable = torch.cuda.get_device_capability(device) >= _CUDA_CAPABILITY
        return capable and in_features % (16 * _CUDA_INNER_TILES) == 0
    return device.type == "cpu"


@dataclass(frozen=True, slots=True)
class KernelWeights:
    """Weights (out, in) in the layout of the device's kernel."""

    tiles: Tensor
    scales_and_zeros: Tensor
    """bfloat16 (in / group, out, 2)"""
    group_size: int

    @classmethod
    def lay_out(cls, numbers: Tensor, scale: Tensor, group_size: int) -> KernelWeights:
        """From the numbers 0 to 15, int8 (out, in), and their scales, bfloat16 (out, in / group)."""
        if numbers.device.type == "cuda":
            bytes_ = numbers.view(torch.uint8)
            pairs = bytes_[:, ::2] << 4 | bytes_[:, 1::2]
            tiles = torch.ops.aten._convert_weight_to_int4pack(pairs, _CUDA_INNER_TILES)
        else:
            tiles = torch.ops.aten._convert_weight_to_int4pack_for_cpu(numbers.int(), 1)
        scales_and_zeros = torch.stack([scale.T, torch.zeros_like(scale.T)], dim=-1).contiguous()
        return cls(tiles, scales_and_zeros, group_size)

    @classmethod
    def join(cls, parts: Sequence[KernelWeights]) -> KernelWeights:
        """Weights whose product is those of `parts` side by side.

        Layouts are in blocks of rows that every part fills, so parts behind one another are laid out as one.
        """
        return cls(
            torch.cat([part.tiles for part in parts]),
            torch.cat([part.scales_and_zeros for part in parts], dim=1),
            parts[0].group_size,
        )

    def split(self, parts: Sequence[KernelWeights]) -> list[KernelWeights]:
        """Views of a joined whole that stand for `parts`, so that nothing is held twice."""
        tiles = torch.split(self.tiles, [part.tiles.shape[0] for part in parts])
        scales = torch.split(self.scales_and_zeros, [part.scales_and_zeros.shape[1] for part in parts], dim=1)
        return [KernelWeights(*pair, self.group_size) for pair in zip(tiles, scales, strict=True)]

    def multiply(self, x: Tensor) -> Tensor:
        """x W^T for bfloat16 x (..., in)."""
        flat = x.reshape(-1, x.shape[-1])
        product = "_weight_int4pack_mm_for_cpu" if x.device.type == "cpu" else "_weight_int4pack_mm"
        y: Tensor = getattr(torch.ops.aten, product)(
            flat, self.tiles, self.group_size, self.scales_and_zeros.contiguous()
        )
        return y.view(*x.shape[:-1], -1)
