"""A linear layer whose weights stay NF4: bitsandbytes' layout with double quantisation (spec 10 §7)."""

from __future__ import annotations

import json
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.lm import nf4_kernel
from editx.errors import LoadFailed

BLOCK = 64
"""Weights that share an `absmax`."""
NESTED_BLOCK = 256
"""Values of `absmax` that share a `nested_absmax`."""
CPU_BLOCKS = 8192
"""Blocks written out at once on the CPU, so that what is in between stays in its caches."""
MOST_ROWS = 16
"""Inputs multiplied by the fused kernel at once."""


def lookup(packed: Tensor, quant_map: Tensor) -> Tensor:
    """The fp32 values (n,) that the nibbles of `packed`, uint8 (n / 2, 1), stand for, the high nibble first."""
    byte = torch.arange(256, device=packed.device)
    pairs = torch.stack([quant_map[byte >> 4], quant_map[byte & 15]], dim=-1)
    # Two values are one 64-bit number, so that one look-up per byte finds both.
    return pairs.view(torch.int64).flatten().index_select(0, packed.flatten().int()).view(torch.float32)


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
    """x W^T with W in NF4: by a fused kernel on CUDA after `prepare`, else written out in every call (`devices` says
    where it is written out for good).

    Buffers: `packed` uint8 (n / 2, 1) for n = out * in weights, `absmax` uint8 (n / 64,), `nested_absmax` fp32
    (n / 64 / 256 rounded up,), `nested_quant_map` fp32 (256,), `quant_map` fp32 (16,), and `nested_offset`, an fp32
    scalar out of the JSON that `Nf4State` reads. `stated_dtype`, out of it too, is what W is rounded to.
    """

    packed: Tensor
    absmax: Tensor
    nested_absmax: Tensor
    nested_quant_map: Tensor
    quant_map: Tensor
    nested_offset: Tensor

    def __init__(
        self, in_features: int, out_features: int, *, device: torch.device, dtype: torch.dtype, kernel: bool = True
    ) -> None:
        super().__init__()
        count = in_features * out_features
        if count % (2 * BLOCK):
            raise LoadFailed(f"{out_features} x {in_features} weights do not fill blocks of {BLOCK} NF4 weights")
        self.in_features, self.out_features, self.dtype, self.kernel = in_features, out_features, dtype, kernel
        self.stated_dtype = torch.bfloat16
        self.absmax_k: Tensor | None = None
        """Block scales in fp32, kept for the kernel."""
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

    @property
    def device(self) -> torch.device:
        return self.packed.device

    @property
    def has_kernel(self) -> bool:
        """Whether its weights are multiplied as they are."""
        return self.absmax_k is not None

    def dequantized(self) -> Tensor:
        """W, (out, in), rounded to the dtype the checkpoint states, in the computing one."""
        packed_kb, scales_k = self.packed.view(-1, BLOCK // 2), self._scales()
        weights_ke = torch.empty(len(scales_k), BLOCK, dtype=self.dtype, device=self.packed.device)
        step = CPU_BLOCKS if self.packed.device.type == "cpu" else len(scales_k)
        for at in range(0, len(scales_k), step):
            some = slice(at, at + step)
            values_ke = lookup(packed_kb[some], self.quant_map).view(-1, BLOCK)
            weights_ke[some] = values_ke.mul_(scales_k[some, None]).to(self.stated_dtype)
        return weights_ke.view(self.out_features, self.in_features)

    def prepare(self, name: str) -> None:
        """Get ready for the fused kernel, where there is one; of a projection called `name`."""
        device = self.packed.device
        if self.kernel and device.type == "cuda" and nf4_kernel.takes(self.in_features) and nf4_kernel.works(device):
            self.absmax_k = self._scales()

    def forward(self, x: Tensor) -> Tensor:
        rows = x.numel() // self.in_features
        # Many rows share the cost of writing W out, and then are a matrix product, which the kernel is not.
        if self.absmax_k is None or rows > MOST_ROWS:
            return F.linear(x, self.dequantized().to(x.dtype))
        y = nf4_kernel.multiply(x.reshape(rows, -1).contiguous(), self.packed, self.absmax_k, self.quant_map)
        return y.view(*x.shape[:-1], self.out_features)

    def _scales(self) -> Tensor:
        """What each block of 64 weights is multiplied by: fp32 (out * in / 64,)."""
        count = self.nested_absmax.numel() * NESTED_BLOCK
        nested_k = self.nested_absmax.repeat_interleave(NESTED_BLOCK, output_size=count)[: self.absmax.numel()]
        return self.nested_quant_map[self.absmax.int()] * nested_k + self.nested_offset
