"""A server that goes no further than the test lets it: proves that a proxy passes things on at once."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

TIMEOUT_S = 30.0


class Upstream:
    """Answers one connection by `script`, in a thread of its own. What goes wrong there is raised at the end."""

    def __init__(self, script: Callable[[socket.socket], None]) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self.port = int(self._listener.getsockname()[1])
        self._script = script
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        try:
            connection, _ = self._listener.accept()
            connection.settimeout(TIMEOUT_S)
            with connection:
                self._script(connection)
        except BaseException as failure:
            self._failure = failure

    def abandon(self) -> None:
        """Wait for nobody any more."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(TIMEOUT_S)
        self._listener.close()

    def close(self) -> None:
        self._thread.join(TIMEOUT_S)
        self._listener.close()
        if self._failure is not None:
            raise self._failure


@contextlib.contextmanager
def upstream(script: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port where `script` answers."""
    serving = Upstream(script)
    try:
        yield serving.port
    except BaseException:
        serving.abandon()
        raise
    serving.close()


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """What arrives up to and with `end`."""
    received = b""
    while not received.endswith(end):
        piece = connection.recv(1)
        assert piece, f"the connection ended with {received[-200:]!r}"
        received += piece
    return received
