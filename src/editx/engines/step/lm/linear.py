"""Projections of the language model, whatever their weights are stored as, and several of them in one product."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.lm.config import Quantization
from editx.engines.step.lm.int4 import Int4Linear
from editx.engines.step.lm.int4_kernel import KernelWeights
from editx.engines.step.lm.nf4 import Nf4Linear
from editx.engines.step.packed import PackedMatrix, packable


class Linear(torch.nn.Module):
    """x W^T with plain weights; key `weight`, (out_features, in_features), until it is packed."""

    def __init__(self, in_features: int, out_features: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        weight = torch.empty(out_features, in_features, device=device, dtype=dtype)
        self.weight = torch.nn.Parameter(weight, requires_grad=False)
        self._packed: PackedMatrix | None = None

    @classmethod
    def of(cls, weight: Tensor) -> Linear:
        """The projection whose weight is `weight`, (out_features, in_features)."""
        made = cls(weight.shape[1], weight.shape[0], device=torch.device("meta"), dtype=weight.dtype)
        made.weight = torch.nn.Parameter(weight, requires_grad=False)
        return made

    def pack(self) -> None:
        """Replace the weight by a packed copy, where the device has such a layout. From here on it only runs."""
        if self._packed is None and packable(self.weight):
            self._packed = PackedMatrix(self.weight, rows=1)
            del self.weight

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight) if self._packed is None else self._packed.multiply(x)


Projection = Linear | Int4Linear | Nf4Linear


def write_out(owner: torch.nn.Module) -> bool:
    """Replace those projections of `owner` by plain ones that no kernel multiplies as they are; whether there were any.

    On CUDA none is replaced: what such weights are for there is to take little memory.
    """
    found = {
        name: part
        for name, part in owner.named_children()
        if isinstance(part, Int4Linear | Nf4Linear) and not part.has_kernel and part.device.type != "cuda"
    }
    for name, part in found.items():
        setattr(owner, name, Linear.of(part.dequantized().to(part.dtype)))
    return bool(found)


def projection(
    in_features: int,
    out_features: int,
    quantization: Quantization | None,
    *,
    device: torch.device,
    dtype: torch.dtype,
    kernels: bool = True,
) -> Projection:
    """An empty projection of the stated kind, computing in `dtype`."""
    if quantization is None:
        return Linear(in_features, out_features, device=device, dtype=dtype)
    if quantization.kind == "int4":
        return Int4Linear(
            in_features,
            out_features,
            group_size=quantization.group_size,
            symmetric=quantization.symmetric,
            kernel=kernels,
            device=device,
            dtype=dtype,
        )
    return Nf4Linear(in_features, out_features, kernel=kernels, device=device, dtype=dtype)


class Together(Protocol):
    """Several projections of one input: their outputs side by side in the last axis."""

    def __call__(self, x: Tensor) -> Tensor: ...

    def prepare(self, *, pack: bool) -> None:
        """Called once, when all weights are there. `pack`: whether to pack plain ones, after which they only run."""
        ...


class Apart:
    """Computes its projections one by one."""

    def __init__(self, parts: Sequence[Projection]) -> None:
        self.parts = parts

    def __call__(self, x: Tensor) -> Tensor:
        return torch.cat([part(x) for part in self.parts], dim=-1)

    def prepare(self, *, pack: bool) -> None:
        for part in self.parts:
            if pack and isinstance(part, Linear):
                part.pack()


class Joined:
    """Computes plain projections as one product. Their parameters become views of one matrix, so that filling them by
    name fills it, and no weight exists twice."""

    def __init__(self, parts: Sequence[Linear]) -> None:
        self.parts = parts
        self.ends = [0]
        for part in parts:
            self.ends.append(self.ends[-1] + part.weight.shape[0])
        self._packed: PackedMatrix | None = None
        self._join()

    def __call__(self, x: Tensor) -> Tensor:
        if self._packed is not None:
            return self._packed.multiply(x)
        if not self._whole():
            self._join()
        return F.linear(x, self.weight)

    def prepare(self, *, pack: bool) -> None:
        if pack and self._packed is None and packable(self.weight):
            self._packed = PackedMatrix(self.weight, rows=1)
            del self.weight
            for part in self.parts:
                del part.weight

    def _whole(self) -> bool:
        """Whether the parameters still are the views: moving a module to a device or a dtype replaces them."""
        row = self.weight.shape[1] * self.weight.element_size()
        base = self.weight.data_ptr()
        return all(
            part.weight.data_ptr() == base + start * row and part.weight.dtype == self.weight.dtype
            for part, start in zip(self.parts, self.ends, strict=False)
        )

    def _join(self) -> None:
        weights = [part.weight.detach() for part in self.parts]
        # Without storage there is nothing to copy, and torch would import its compiler for it, which takes seconds.
        shape = self.ends[-1], weights[0].shape[1]
        self.weight = weights[0].new_empty(shape) if weights[0].is_meta else torch.cat(weights)
        for part, start, end in zip(self.parts, self.ends, self.ends[1:], strict=False):
            part.weight.data = self.weight[start:end]


class JoinedInt4(Apart):
    """Computes int4 projections as one product once they are laid out for the kernel, one by one until then."""

    def __init__(self, parts: Sequence[Int4Linear]) -> None:
        super().__init__(parts)
        self.int4_parts = parts
        self._whole: KernelWeights | None = None

    def __call__(self, x: Tensor) -> Tensor:
        return super().__call__(x) if self._whole is None else self._whole.multiply(x)

    def prepare(self, *, pack: bool) -> None:
        laid_out = [part.laid_out for part in self.int4_parts if part.laid_out is not None]
        if self._whole is None and len(laid_out) == len(self.int4_parts):
            self._whole = KernelWeights.join(laid_out)
            for part, view in zip(self.int4_parts, self._whole.split(laid_out), strict=True):
                part.laid_out = view


def together(parts: Sequence[Projection], *, join: bool) -> Together:
    """Projections of one input, in one product where `join` and their kind allow it."""
    plain = [part for part in parts if isinstance(part, Linear)]
    int4 = [part for part in parts if isinstance(part, Int4Linear)]
    if join and len(plain) == len(parts):
        return Joined(plain)
    if join and len(int4) == len(parts):
        return JoinedInt4(int4)
    return Apart(parts)
