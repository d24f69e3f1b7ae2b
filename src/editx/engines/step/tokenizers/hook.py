"""How long work tells of itself and is told to stop."""

from __future__ import annotations

from collections.abc import Callable

Hook = Callable[[float], None]
"""Told the share of the work that is done, 0 to 1, between units of it; what it raises ends the work."""


def no_hook(done: float) -> None:
    """For callers who only want the result."""
