"""Whole parts of a checkpoint as new tensors, for modules that take their parameters over."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch

from editx.cancellation import Cancellation
from editx.engines.step.weights.header import StoredTensor
from editx.engines.step.weights.pickled import converted, load_pickled_into
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
    state = _room(tensors, device, dtype)
    load_into(state, tensors, threads=threads, report=report, cancellation=cancellation)
    return state


def read_pickled_state(
    source: Path,
    cache: Path,
    *,
    prefix: str = "",
    device: torch.device | str = "cpu",
    dtype: torch.dtype | None = None,
    threads: int = DEFAULT_THREADS,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> dict[str, torch.Tensor]:
    """The tensors of a `.pt` file whose names begin with `prefix`, by way of its converted copy in `cache`.

    Raises LoadFailed and Cancelled as `load_pickled_into` does.
    """
    state = _room(converted(source, cache, prefix), device, dtype)
    load_pickled_into(state, source, cache, prefix=prefix, threads=threads, report=report, cancellation=cancellation)
    return state


def _room(
    tensors: Mapping[str, StoredTensor], device: torch.device | str, dtype: torch.dtype | None
) -> dict[str, torch.Tensor]:
    return {
        name: torch.empty(
            stored.shape, device=device, dtype=dtype if dtype and stored.dtype.is_floating_point else stored.dtype
        )
        for name, stored in tensors.items()
    }
