"""What crosses the socket, and what must not."""

import socket

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editx import errors
from editx.audio.clip import Clip
from editx.engines.base import Memory, Progress, Sampling
from editx.processes import frames
from editx.recipe import Clone, Denoise, Emotion, Paralinguistic, Speed, Style, Vad
from editx.worker import wire

SOUND = wire.Sound.of(Clip(np.array([0.5, -0.0, 1e-45], np.float32), 24_000))
STEPS = [Clone("hi"), Emotion("sad"), Style("whisper"), Speed("faster"), Paralinguistic("[sigh]"), Denoise(), Vad()]


def across(frame, receive):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.send(ours, wire.encode(frame))
        return receive(theirs)


def raw(body, receive):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        frames.send(ours, body)
        return receive(theirs)


@pytest.mark.parametrize(
    "frame",
    [
        wire.Open("module:function", "base", {"device": "cuda:0", "n": 1, "x": None}),
        *(wire.Run(7, step, SOUND, "你好", 2**63 - 1, Sampling(0.5, 3, 0.9), False) for step in STEPS),
        wire.Cancel(7),
        wire.Credit(7, 1 << 20),
        wire.Close(),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_commands_arrive_equal(frame):
    assert across(frame, wire.receive_command) == frame


@pytest.mark.parametrize(
    "frame",
    [
        wire.Report(7, Progress("generation", 0.25, 1.5)),
        wire.Audio(7, SOUND),
        wire.Ready(24_000, Memory(1, 2, 3)),
        wire.Done(7, {"generation": 0.5}, Memory(1, 2, 3)),
        wire.Failed(7, "invalid_request", "no", "text", 3.0),
    ],
    ids=lambda frame: type(frame).__name__,
)
def test_replies_arrive_equal(frame):
    assert across(frame, wire.receive_reply) == frame


@pytest.mark.parametrize("kind", errors.BY_CODE.values(), ids=errors.BY_CODE)
def test_every_error_survives_the_journey(kind):
    error = across(wire.Failed.of(1, kind("what", param="p", retry_after_s=2.0)), wire.receive_reply).error()
    assert type(error) is kind
    assert (error.message, error.param, error.retry_after_s) == ("what", "p", 2.0)


def test_an_unknown_code_is_a_fault_of_the_engine():
    assert type(wire.Failed(1, "no_such_code", "what").error()) is errors.EngineFault


@given(body=st.binary(max_size=200))
def test_no_bytes_are_worse_than_a_wire_error(body):
    for receive in (wire.receive_command, wire.receive_reply):
        with pytest.raises(wire.WireError):
            raw(body, receive)


@given(cut=st.integers(0, 10_000), flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 255)), max_size=5))
def test_a_damaged_frame_is_a_frame_or_a_wire_error(cut, flips):
    body = bytearray(wire.encode(wire.Run(7, Emotion("sad"), SOUND, "words", 1, Sampling(), True)))
    for at, value in flips:
        body[at % len(body)] = value
    try:
        frame = raw(body[: cut or None], wire.receive_command)
    except wire.WireError:
        return
    assert isinstance(frame, wire.Command)


@pytest.mark.parametrize(
    "sound", [{"samples": b"123", "rate": 24_000}, {"samples": b"1234", "rate": 0}, {"samples": b"1234", "rate": -1}]
)
def test_bytes_that_are_no_clip_are_refused_on_arrival(sound):
    body = msgspec.msgpack.encode({"type": "Audio", "id": 1, "sound": sound})
    with pytest.raises(wire.WireError, match="are no clip"):
        raw(body, wire.receive_reply)


def test_a_step_that_is_not_allowed_is_refused_on_arrival():
    body = msgspec.msgpack.encode(wire.Run(7, Emotion("sad"), SOUND, "", 1, Sampling(), True))
    with pytest.raises(wire.WireError, match="no option of emotion"):
        raw(body.replace(b"\xa3sad", b"\xa3odd"), wire.receive_command)


def test_the_end_of_a_connection_is_no_error():
    for unfinished in (b"", b"\x05", (5).to_bytes(8, "little") + b"abc"):
        ours, theirs = socket.socketpair()
        with theirs:
            ours.sendall(unfinished)
            ours.close()
            assert wire.receive_reply(theirs) is None
