"""What the studio asks of whatever runs its steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Progress
from editx.engines.catalog import VariantSpec
from editx.recipe import AnyStep
from editx.worker.model import Finished


@dataclass(frozen=True, slots=True)
class Queued:
    """The request waits; `position` requests are before it."""

    position: int


@dataclass(frozen=True, slots=True)
class Waking:
    """The model is being loaded for the request."""

    variant: str
    progress: Progress


Notify = Callable[[Queued | Waking], None]


class Session(Protocol):
    """The right to run steps on one loaded variant, until its context ends."""

    variant: str
    pid: int | None
    queue_seconds: float
    load_seconds: float

    def run(self, step: AnyStep, clip: Clip, context: Context) -> Iterator[Progress | Clip | Finished]:
        """Apply one step; audio comes in chunks. Raises as `Engine.run`, or ModelUnavailable when the model is lost."""
        ...


class Backend(Protocol):
    """Runs steps on variants that are loaded when asked for."""

    def catalog(self) -> tuple[VariantSpec, ...]:
        """Every variant as it stands now. Never waits, never wakes a model."""
        ...

    def session(
        self, variant: str, *, keep_alive: float | None, cancellation: Cancellation, notify: Notify
    ) -> AbstractContextManager[Session]:
        """Wait for a turn on `variant`, loading it where needed, and hold it while the context is open.

        `notify` hears from any thread what the wait is for. Raises QueueFull, NotFound, Cancelled or ModelUnavailable.
        """
        ...

    def status(self) -> dict[str, dict[str, Any]]:
        """Per variant, the fields of the HTTP contract. Never waits, never wakes a model."""
        ...

    def load(self, variant: str) -> None:
        """Load `variant` now and start its idle clock. Raises as `session`."""
        ...

    def unload(self, variant: str, *, now: bool = False) -> None:
        """Give `variant` back; waits for its leases unless `now`. Raises NotFound."""
        ...

    def admit(self) -> None:
        """Do nothing if a request would be accepted now. Raises QueueFull, or ShuttingDown, if it would not."""
        ...

    def close(self) -> None:
        """Unload everything and leave nothing behind."""
        ...
