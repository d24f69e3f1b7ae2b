"""What a visitor has under way, so that a button or a closed tab can end it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from editx.cancellation import Cancellation
from editx.runner import Run

Work = Run | Cancellation
"""A job, or what a recording is read until."""


class Running:
    """The work of each browser tab, and the place on the page each was started from. Used on the event loop only."""

    def __init__(self) -> None:
        self._work: dict[str, list[tuple[str, Work]]] = {}

    @contextmanager
    def entered(self, tab: str, place: str, work: Work) -> Iterator[None]:
        """Count `work` as the tab's while the context is open."""
        self._work.setdefault(tab, []).append((place, work))
        try:
            yield
        finally:
            self._work[tab].remove((place, work))
            if not self._work[tab]:
                del self._work[tab]

    def cancel(self, tab: str, reason: str, place: str | None = None) -> None:
        """End what the tab has under way: what was started from `place`, or everything."""
        for started_from, work in self._work.get(tab, ()):
            if place in (None, started_from):
                work.cancel(reason)
