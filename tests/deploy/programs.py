"""Programs that tests start, on ports that nobody uses."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.running import Logged


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def logged(command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Logged]:
    """A program that runs until the block ends."""
    running = Logged(command, cwd, env)
    try:
        yield running
    finally:
        running.stop()
