"""Messages on a stream socket: eight bytes of length, little-endian, then the body."""

from __future__ import annotations

import socket
import struct
import time

_LENGTH = struct.Struct("<Q")
_JOIN_BELOW = 1 << 16


class BrokenFrame(Exception):
    """What arrived is no frame: it says it is longer than allowed."""


class CutShort(BrokenFrame):
    """The other end went away in the middle of a frame."""


def send(sock: socket.socket, body: bytes | bytearray | memoryview, *, deadline: float | None = None) -> None:
    """Send one frame. Raises TimeoutError when `deadline` (of `time.monotonic`) passes, OSError when nobody listens."""
    header = _LENGTH.pack(len(body))
    if deadline is not None:
        sock.settimeout(_left(deadline))
    if len(body) < _JOIN_BELOW:
        sock.sendall(header + body)
    else:
        sock.sendall(header)
        sock.sendall(body)


def receive(sock: socket.socket, limit: int, *, deadline: float | None = None) -> bytearray | None:
    """The next frame's body, or None when the other end has closed between two frames.

    Raises CutShort for one that ends early, BrokenFrame for one longer than `limit` bytes, TimeoutError when
    `deadline` passes.
    """
    header = bytearray(_LENGTH.size)
    got = _fill(sock, header, deadline)
    if got == 0:
        return None
    if got < len(header):
        raise CutShort(f"a frame was cut short after {got} of the {len(header)} bytes of its length")
    (length,) = _LENGTH.unpack(header)
    if length > limit:
        raise BrokenFrame(f"a frame of {length} bytes was announced, and at most {limit} are allowed")
    body = bytearray(length)
    got = _fill(sock, body, deadline)
    if got < length:
        raise CutShort(f"a frame was cut short after {got} of its {length} bytes")
    return body


def _fill(sock: socket.socket, buffer: bytearray, deadline: float | None) -> int:
    """Read until the buffer is full or the other end closed; returns how many bytes arrived."""
    got = 0
    with memoryview(buffer) as view:
        while got < len(buffer):
            if deadline is not None:
                sock.settimeout(_left(deadline))
            try:
                n = sock.recv_into(view[got:])
            except ConnectionResetError:
                # A peer that dies with unread data in its socket resets the connection instead of closing it.
                return got
            if n == 0:
                return got
            got += n
    return got


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError("the deadline has passed")
    return left
