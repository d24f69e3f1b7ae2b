"""Whether the fused NF4 product can be had here, and the way to it. Needs CUDA and Triton, which torch brings there."""

from __future__ import annotations

import importlib.util
import logging
from functools import cache

import torch
from torch import Tensor

_log = logging.getLogger(__name__)

_CAPABILITY = (8, 0)
_INPUTS = 256
_BLOCK = 64


def takes(in_features: int) -> bool:
    """Whether the kernel takes rows of this many weights."""
    return in_features % _INPUTS == 0


def multiply(x: Tensor, packed: Tensor, absmax: Tensor, quant_map: Tensor) -> Tensor:
    """See `nf4_triton.multiply`."""
    from editx.engines.step.lm import nf4_triton

    return nf4_triton.multiply(x, packed, absmax, quant_map)


@cache
def works(device: torch.device) -> bool:
    """Whether the kernel can be built for `device` and gives the right numbers there. Tried once."""
    if torch.cuda.get_device_capability(device) < _CAPABILITY or importlib.util.find_spec("triton") is None:
        return False
    try:
        difference = _difference(device)
    except Exception as error:
        # Whatever keeps Triton from building kernels here, such as no C compiler, there is a way without it.
        _log.warning("the NF4 kernel cannot be built (%s); NF4 weights are written out in every call", error)
        return False
    if difference > 1e-3:
        _log.warning("the NF4 kernel is wrong by %.3g; NF4 weights are written out in every call", difference)
    return difference <= 1e-3


def _difference(device: torch.device) -> float:
    """The largest error of a product of made-up numbers."""
    out, rows = 40, 3
    numbers = torch.arange(out * _INPUTS, device=device) * 7 % 16
    packed = (numbers[::2] << 4 | numbers[1::2]).to(torch.uint8)[:, None]
    quant_map = torch.linspace(-1, 1, 16, device=device)
    absmax = torch.linspace(0.01, 0.1, out * _INPUTS // _BLOCK, device=device)
    x = torch.sin(torch.arange(rows * _INPUTS, device=device, dtype=torch.float32)).view(rows, -1)
    weight = (quant_map[numbers].view(-1, _BLOCK) * absmax[:, None]).view(out, _INPUTS)
    expected = x.double() @ weight.double().T
    return float((multiply(x, packed, absmax, quant_map).double() - expected).abs().max())
