"""Which jobs a visitor has under way, so that a button or a closed tab can end them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from editx.runner import Run


class Running:
    """The runs of each browser tab. Used on the event loop only."""

    def __init__(self) -> None:
        self._runs: dict[str, list[Run]] = {}

    @contextmanager
    def entered(self, tab: str, run: Run) -> Iterator[None]:
        """Count `run` as the tab's while the context is open."""
        self._runs.setdefault(tab, []).append(run)
        try:
            yield
        finally:
            self._runs[tab].remove(run)
            if not self._runs[tab]:
                del self._runs[tab]

    def cancel(self, tab: str, reason: str) -> None:
        """End whatever the tab has under way."""
        for run in self._runs.get(tab, ()):
            run.cancel(reason)
