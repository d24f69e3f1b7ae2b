"""The four states of a lazily loaded model, and what is told about it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """unloaded → loading → ready → unloading → unloaded; a load that fails goes back to unloaded."""

    UNLOADED = "unloaded"
    LOADING = "loading"
    READY = "ready"
    UNLOADING = "unloading"


@dataclass(frozen=True, slots=True)
class Status:
    """What one model is doing, at one moment. Advice for whoever reads it, never the ground for a change.

    `loaded`: a request would be served without a load. `idle_timeout` and all other times are seconds; `idle_timeout`
    is None when the model is kept. `idle_time`: how long a loaded model has had no lease, else 0. `time_until_unload`:
    None when no unload is coming by itself. `crashes`: in a row, without a good use in between. `retry_in`: how long a
    crashing model is left alone before it is tried again, None when it is not.
    """

    name: str
    loaded: bool
    state: str
    auto_unload: bool
    idle_timeout: float | None
    idle_time: float
    time_until_unload: float | None
    leases: int
    queued: int
    loads: int
    unloads: int
    last_load_seconds: float | None
    last_error: str | None
    load_stage: str | None
    load_fraction: float | None
    load_seconds: float | None
    crashes: int
    retry_in: float | None

    def as_dict(self) -> dict[str, object]:
        """The same as a plain dictionary that `json` can write."""
        return {name: getattr(self, name) for name in self.__slots__}
