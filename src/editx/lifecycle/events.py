"""What an observer is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

Kind = Literal[
    "loading", "progress", "ready", "load_failed", "unloading", "unloaded", "crashed", "lease", "release", "revoked"
]
UNLOAD_REASONS = ("idle", "forced", "evicted", "crash", "stalled", "shutdown")


@dataclass(frozen=True, slots=True)
class Event:
    """One transition of one model.

    `time`: of the manager's clock, in seconds. `generation` counts the loads begun, so it tells instances apart.
    `leases`: how many are held after the event. `seconds` is what it took: `ready` and `load_failed` the load,
    `unloaded` the unload, `lease` the wait for it, `release` the use. `reason`: why it is unloaded, one
    of `UNLOAD_REASONS`. `stage` and `fraction` belong to `progress`.
    """

    kind: Kind
    name: str
    time: float
    generation: int
    leases: int = 0
    seconds: float | None = None
    reason: str = ""
    error: str | None = None
    stage: str | None = None
    fraction: float | None = None


Observer: TypeAlias = Callable[[Event], None]
"""Called outside every lock, in order, by whichever thread made the change: be quick. What it raises is logged."""
