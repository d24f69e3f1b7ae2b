"""Frames on real sockets, whole, broken and late."""

import socket
import threading
import time

import pytest

from editx.processes import frames


@pytest.fixture
def pair():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


@pytest.mark.parametrize("size", [0, 1, 65535, 65536, 3_000_000])
def test_a_frame_arrives_as_it_was_sent(pair, size):
    body = bytes(range(256)) * (size // 256 + 1)
    sender = threading.Thread(target=frames.send, args=(pair[0], body[:size]))
    sender.start()
    assert frames.receive(pair[1], 3_000_000) == body[:size]
    sender.join()


def test_the_end_between_frames_is_no_error(pair):
    frames.send(pair[0], b"last")
    pair[0].close()
    assert frames.receive(pair[1], 100) == b"last"
    assert frames.receive(pair[1], 100) is None


@pytest.mark.parametrize(
    ("sent", "text"), [(b"\x05", "1 of the 8"), ((5).to_bytes(8, "little") + b"abc", "3 of its 5")]
)
def test_the_end_within_a_frame_is_one(pair, sent, text):
    pair[0].sendall(sent)
    pair[0].close()
    with pytest.raises(frames.BrokenFrame, match=text):
        frames.receive(pair[1], 100)


def test_garbage_is_refused_before_memory_is_taken_for_it(pair):
    pair[0].sendall(b"\xff" * 8)
    with pytest.raises(frames.BrokenFrame, match="at most 100 are allowed"):
        frames.receive(pair[1], 100)


def test_a_peer_that_left_data_unread_reads_as_closed(pair):
    pair[1].sendall(b"unread")
    pair[0].close()
    assert frames.receive(pair[1], 100) is None


def test_deadlines_hold_in_both_directions(pair):
    with pytest.raises(TimeoutError):
        frames.receive(pair[0], 100, deadline=time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        frames.send(pair[0], bytes(10_000_000), deadline=time.monotonic() + 0.05)
    with pytest.raises(TimeoutError):
        frames.receive(pair[0], 100, deadline=time.monotonic() - 1)
