"""Stored tensors as new ones in memory."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from editx.cancellation import Cancellation
from editx.engines.step.weights.header import StoredTensor
from editx.engines.step.weights.reader import DEFAULT_THREADS, Report, load_into


def read_state(
    tensors: Mapping[str, StoredTensor],
    *,
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    threads: int = DEFAULT_THREADS,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> dict[str, torch.Tensor]:
    """Read tensors into new ones on `device`, floating-point ones as `dtype` where it is given.

    Raises LoadFailed and Cancelled as `load_into` does.
    """
    state = {
        name: torch.empty(
            stored.shape, device=device, dtype=dtype if dtype and stored.dtype.is_floating_point else stored.dtype
        )
        for name, stored in tensors.items()
    }
    load_into(state, tensors, threads=threads, report=report, cancellation=cancellation)
    return state
