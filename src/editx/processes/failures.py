"""How a child process can fail its caller."""

from __future__ import annotations


class ChildFailed(Exception):
    """The child could not be started, or ended without an answer. `exit_code` is as in `Child.exit_code`."""

    def __init__(self, message: str, *, exit_code: int | None = None) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class ChildTimedOut(ChildFailed):
    """The child gave no whole answer in time, and was killed."""
