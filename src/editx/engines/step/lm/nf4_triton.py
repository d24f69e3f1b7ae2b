"""A fused product of inputs and NF4 weights for CUDA. Imported only where Triton is."""

# mypy: disable-error-code="untyped-decorator, no-untyped-def, no-untyped-call, misc, arg-type"
from __future__ import annotations

import torch
import triton  # type: ignore[import-not-found, import-untyped, unused-ignore]
import triton.language as tl  # type: ignore[import-not-found, import-untyped, unused-ignore]
from torch import Tensor

BLOCK_OUT = 16
BLOCK_IN = 256


@triton.jit
def _multiply(x, packed, absmax, quant_map, y, OUT, IN, BLOCK_OUT: tl.constexpr, BLOCK_IN: tl.constexpr):
    # Rows of x are the fastest axis of the grid, so that programs side by side share weights in the cache.
    row = tl.program_id(0)
    outs = tl.program_id(1) * BLOCK_OUT + tl.arange(0, BLOCK_OUT)
    inside = outs < OUT
    pairs = tl.arange(0, BLOCK_IN // 2)
    sums = tl.zeros((BLOCK_OUT, BLOCK_IN // 2), dtype=tl.float32)
    starts = outs.to(tl.int64)[:, None] * IN
    for begin in range(0, IN, BLOCK_IN):
        at = starts + begin + 2 * pairs[None, :]
        both = tl.load(packed + at // 2, mask=inside[:, None], other=0).to(tl.int32)
        scale = tl.load(absmax + at // 64, mask=inside[:, None], other=0.0)
        # Rounded as the published weights are when they are written out.
        even = (tl.load(quant_map + (both >> 4)) * scale).to(y.dtype.element_ty).to(tl.float32)
        odd = (tl.load(quant_map + (both & 15)) * scale).to(y.dtype.element_ty).to(tl.float32)
        first = x + row * IN + begin + 2 * pairs
        sums += even * tl.load(first).to(tl.float32)[None, :] + odd * tl.load(first + 1).to(tl.float32)[None, :]
    total = tl.sum(sums, axis=1)
    tl.store(y + row * OUT + outs, total.to(y.dtype.element_ty), mask=inside)


def multiply(x: Tensor, packed: Tensor, absmax: Tensor, quant_map: Tensor) -> Tensor:
    """x W^T in the dtype of x.

    x: (rows, in), contiguous. packed: uint8 (out * in / 2, 1). absmax: fp32 (out * in / 64,). quant_map: fp32 (16,).
    `in` is a multiple of 256.
    """
    rows, in_features = x.shape
    out_features = 2 * packed.numel() // in_features
    y = torch.empty(rows, out_features, dtype=x.dtype, device=x.device)
    grid = (rows, triton.cdiv(out_features, BLOCK_OUT))
    _multiply[grid](x, packed, absmax, quant_map, y, out_features, in_features, BLOCK_OUT, BLOCK_IN, num_warps=4)
    return y
