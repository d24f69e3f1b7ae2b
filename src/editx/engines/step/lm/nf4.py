"""A linear layer whose weights stay NF4: bitsandbytes' layout with double quantisation (spec 10 §7)."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.errors import LoadFailed

BLOCK = 64
"""Weights that share an `absmax`."""
NESTED_BLOCK = 256
"""Values of `absmax` that share a `nested_absmax`."""


@dataclass(frozen=True, slots=True)
class Nf4State:
    """What the JSON beside an NF4 weight says."""

    shape: tuple[int, int]
    dtype: torch.dtype
    nested_offset: float

    @classmethod
    def parse(cls, text: bytes, key: str) -> Nf4State:
        """Read the bytes of `….quant_state.bitsandbytes__nf4`.

        Raises LoadFailed, naming `key`, for what is damaged or not supported.
        """
        remedy = "fetch the published checkpoint again"
        try:
            data = json.loads(text)
            sizes = (data["quant_type"], data["blocksize"], data["nested_blocksize"])
            out, in_features = data["shape"]
            dtype = getattr(torch, data["dtype"])
            offset = float(data["nested_offset"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise LoadFailed(f"{key} is damaged ({error}); {remedy}") from error
        if sizes != ("nf4", BLOCK, NESTED_BLOCK) or not isinstance(dtype, torch.dtype):
            raise LoadFailed(
                f"{key} states {sizes}; only nf4 in blocks of {BLOCK}, nested {NESTED_BLOCK}, is supported"
            )
        return cls((int(out), int(in_features)), dtype, offset)


def checkpoint_key(name: str) -> str:
    """The checkpoint's key for the buffer `name` of a projection: `packed` is its `weight`, the rest hangs below."""
    return "weight" if name == "packed" else f"weight.{name}"


class Nf4Linear(torch.nn.Module):
    """x W^T with W in NF4, written out in every call.

    Buffers: `packed` uint8 (n / 2, 1) for n = out * in weights, `absmax` uint8 (n / 64,), `nested_absmax` fp32
    (n / 64 / 256 rounded up,), `nested_quant_map` fp32 (256,), `quant_map` fp32 (16,), and `nested_offset`, an fp32
    scalar out of the JSON that `Nf4State` reads.
    """

    packed: Tensor
    absmax: Tensor
    nested_absmax: Tensor
    nested_quant_map: Tensor
    quant_map: Tensor
    nested_offset: Tensor

    def __init__(self, in_features: int, out_features: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        count = in_features * out_features
        if count % (2 * BLOCK):
            raise LoadFailed(f"{out_features} x {in_features} weights do not fill blocks of {BLOCK} NF4 weights")
        self.in_features, self.out_features, self.dtype = in_features, out_features, dtype
        nested = -(-count // BLOCK // NESTED_BLOCK)
        buffers = {
            "packed": ((count // 2, 1), torch.uint8),
            "absmax": ((count // BLOCK,), torch.uint8),
            "nested_absmax": ((nested,), torch.float32),
            "nested_quant_map": ((256,), torch.float32),
            "quant_map": ((16,), torch.float32),
            "nested_offset": ((), torch.float32),
        }
        for name, (shape, kind) in buffers.items():
            self.register_buffer(name, torch.empty(shape, dtype=kind, device=device))

    def dequantized(self) -> Tensor:
        """W, (out, in), in the computing dtype."""
        nested = self.nested_absmax.repeat_interleave(
            NESTED_BLOCK, output_size=self.nested_absmax.numel() * NESTED_BLOCK
        )
        absmax = self.nested_quant_map[self.absmax.int()] * nested[: self.absmax.numel()] + self.nested_offset
        bytes_kb = self.packed.view(-1, BLOCK // 2)
        nibbles_kb2 = torch.stack([bytes_kb >> 4, bytes_kb & 15], dim=-1)
        weights_ke = self.quant_map[nibbles_kb2.flatten(1).int()] * absmax[:, None]
        return weights_ke.to(self.dtype).view(self.out_features, self.in_features)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.dequantized().to(x.dtype))
