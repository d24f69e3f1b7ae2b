"""Which jobs a visitor has under way, so that a button or a closed tab can end them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from editx.runner import Run


class Running:
    """The runs of each browser tab, and the place on the page each was started from. Used on the event loop only."""

    def __init__(self) -> None:
        self._runs: dict[str, list[tuple[str, Run]]] = {}

    @contextmanager
    def entered(self, tab: str, place: str, run: Run) -> Iterator[None]:
        """Count `run` as the tab's while the context is open."""
        self._runs.setdefault(tab, []).append((place, run))
        try:
            yield
        finally:
            self._runs[tab].remove((place, run))
            if not self._runs[tab]:
                del self._runs[tab]

    def cancel(self, tab: str, reason: str, place: str | None = None) -> None:
        """End what the tab has under way: what was started from `place`, or everything."""
        for started_from, run in self._runs.get(tab, ()):
            if place in (None, started_from):
                run.cancel(reason)
