"""Weights to int4 and NF4, rounded to nearest, in the layouts of spec 10 §6 and §7. What reads them is in `lm`."""

from __future__ import annotations

import json

import torch

from editx.engines.step.lm.nf4 import BLOCK, NESTED_BLOCK

_HALF_RANGE = 7.5
_LOWEST, _HIGHEST = -8, 7
STATE_BYTES = 224
"""Length of the JSON beside an NF4 weight, filled up with spaces so that it is known before the numbers in it are."""

NF4 = (
    -1.0, -0.6961928009986877, -0.5250730514526367, -0.39491748809814453, -0.28444138169288635, -0.18477343022823334,
    -0.09105003625154495, 0.0, 0.07958029955625534, 0.16093020141124725, 0.24611230194568634, 0.33791524171829224,
    0.44070982933044434, 0.5626170039176941, 0.7229568362236023, 1.0,
)  # fmt: skip
"""The sixteen values of an NF4 weight before its block's factor: quantiles of a normal distribution."""


def int4_scale(weight: torch.Tensor, group: int) -> torch.Tensor:
    """Scales (out, in / group) of symmetric int4: each group's largest magnitude over half the integers' range."""
    groups = weight.reshape(weight.shape[0], -1, group)
    return (groups.float().abs().amax(-1) / _HALF_RANGE).clamp_min(torch.finfo(torch.float32).tiny).to(weight.dtype)


def int4_round(weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """The integers -8 to 7 nearest to `weight` (out, in) in units of `scale`, as float32 (out, in)."""
    groups = weight.reshape(*scale.shape, -1)
    rounded = (groups / scale[..., None]).float().round().clamp(_LOWEST, _HIGHEST)
    return torch.nan_to_num(rounded).flatten(1)


def quantize_int4(weight: torch.Tensor, group: int) -> dict[str, torch.Tensor]:
    """A linear's weight, bf16 (out, in), as the suffixes of its key and the tensors under them.

    `_packed` int32 (out, in / 8), `_scale` bf16 (out, in / group), `_shape` int64 (2,).
    """
    scale = int4_scale(weight, group)
    numbers = (int4_round(weight, scale) - _LOWEST).to(torch.uint8)
    # The first of two weights is the lower half of a byte, and the first of four bytes the lowest of a word.
    packed = (numbers[:, 1::2] << 4 | numbers[:, ::2]).contiguous().view(torch.int32)
    return {"_packed": packed, "_scale": scale, "_shape": torch.tensor(weight.shape, dtype=torch.int64)}


def quantize_nf4(weight: torch.Tensor) -> dict[str, torch.Tensor]:
    """A linear's weight, bf16 (out, in), as NF4 with double quantisation: suffixes of its key and tensors.

    Six tensors as spec 10 §7 lists them.
    """
    blocks = weight.float().reshape(-1, BLOCK)
    absmax = blocks.abs().amax(1)
    codes = torch.tensor(NF4, device=weight.device)
    unit = torch.where(absmax > 0, absmax, 1.0)
    nibbles = _nearest(blocks / unit[:, None], codes).reshape(-1, 2)
    offset = absmax.mean()
    nested = _nested(absmax - offset)
    state = {
        "quant_type": "nf4",
        "blocksize": BLOCK,
        "dtype": str(weight.dtype).removeprefix("torch."),
        "shape": list(weight.shape),
        "nested_blocksize": NESTED_BLOCK,
        "nested_dtype": "float32",
        "nested_offset": float(offset),
    }
    text = json.dumps(state).encode().ljust(STATE_BYTES)
    return {
        "": (nibbles[:, :1] << 4 | nibbles[:, 1:]).to(torch.uint8),
        ".absmax": nested[0],
        ".quant_map": codes,
        ".nested_absmax": nested[1],
        ".nested_quant_map": dynamic_map().to(weight.device),
        ".quant_state.bitsandbytes__nf4": torch.frombuffer(bytearray(text), dtype=torch.uint8),
    }


def dynamic_map() -> torch.Tensor:
    """The 256 values of the 8-bit type that block factors are kept in, ascending: finer towards 0, a decade a step."""
    values = [0.0, 1.0]
    for exponent in range(7):
        edges = torch.linspace(0.1, 1, 2**exponent + 1)
        middles = (edges[:-1] + edges[1:]) / 2 * 10.0 ** (exponent - 6)
        values += [*middles.tolist(), *(-middles).tolist()]
    return torch.tensor(sorted(values))


def _nested(factors: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Block factors (n,) as uint8 codes (n,) and the magnitude of each 256 of them (n / 256 rounded up,)."""
    padded = torch.nn.functional.pad(factors, (0, -len(factors) % NESTED_BLOCK)).view(-1, NESTED_BLOCK)
    largest = padded.abs().amax(1)
    unit = torch.where(largest > 0, largest, 1.0)
    codes = _nearest(padded / unit[:, None], dynamic_map().to(factors.device))
    return codes.flatten()[: len(factors)].to(torch.uint8), largest


def _nearest(x: torch.Tensor, ascending: torch.Tensor) -> torch.Tensor:
    """Index of the nearest of `ascending` values, int32, of x's shape."""
    middles = (ascending[1:] + ascending[:-1]) / 2
    return torch.bucketize(x.contiguous(), middles, out_int32=True)
