"""The frames between the server and a worker process: msgpack on one socket, no pickle.

The server sends `Open` once, then `Run`, `Cancel` and `Credit`, and `Close` at the end. The worker answers with any
number of `Report` and `Audio` frames for an id, then one of `Ready` (for `Open`, whose id is 0), `Done` or `Failed`.
Samples travel as float32, little-endian, and arrive as the same bits.
"""

from __future__ import annotations

import socket
from typing import Any, TypeVar

import msgspec
import numpy as np

from editx.audio.clip import Clip
from editx.engines.base import Memory, Progress, Sampling
from editx.errors import BY_CODE, EditXError, EngineFault, TooLarge
from editx.processes import frames
from editx.recipe import AnyStep

MAX_FRAME_BYTES = 1 << 28
MAX_AUDIO_BYTES = 1 << 18
"""Longest piece of audio in one frame from a worker."""

WINDOW_BYTES = 1 << 22
"""Audio of one request a worker may have sent that its reader has not taken yet: 43 s at 24 kHz."""

LOAD_ID = 0


class WireError(Exception):
    """What arrived is none of our frames."""


class Sound(msgspec.Struct, frozen=True):
    """A clip on the wire. `samples`: float32, little-endian; `rate`: Hz."""

    samples: memoryview
    rate: int

    @staticmethod
    def of(clip: Clip) -> Sound:
        return Sound(np.ascontiguousarray(clip.samples, dtype="<f4").data.cast("B"), clip.rate)

    def __post_init__(self) -> None:
        if len(self.samples) % 4 or self.rate <= 0:
            raise ValueError(f"{len(self.samples)} bytes at {self.rate} Hz are no clip")

    def clip(self) -> Clip:
        # A copy, because it must outlive the frame, be aligned, and belong to whoever gets it.
        return Clip(np.frombuffer(self.samples, dtype="<f4").astype(np.float32), self.rate)


class Open(msgspec.Struct, frozen=True, tag=True):
    """Load the variant with the `OpenEngine` at `entry`."""

    entry: str
    variant: str
    options: dict[str, Any]


class Run(msgspec.Struct, frozen=True, tag=True):
    id: int
    step: AnyStep
    sound: Sound
    transcript: str
    seed: int
    sampling: Sampling
    stream: bool


class Cancel(msgspec.Struct, frozen=True, tag=True):
    id: int


class Credit(msgspec.Struct, frozen=True, tag=True):
    """The reader took `size` bytes of audio of this request: as many more may be sent."""

    id: int
    size: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Stop everything, close the engine and exit."""


class Report(msgspec.Struct, frozen=True, tag=True):
    id: int
    progress: Progress


class Audio(msgspec.Struct, frozen=True, tag=True):
    id: int
    sound: Sound


class Ready(msgspec.Struct, frozen=True, tag=True):
    sample_rate: int
    memory: Memory
    id: int = LOAD_ID


class Done(msgspec.Struct, frozen=True, tag=True):
    """The request is finished. `timings`: seconds the engine spent per stage."""

    id: int
    timings: dict[str, float]
    memory: Memory


class Failed(msgspec.Struct, frozen=True, tag=True):
    """The request, or the load, ended with an error of `errors.py`, as text."""

    id: int
    code: str
    message: str
    param: str | None = None
    retry_after_s: float | None = None

    @staticmethod
    def of(id: int, error: EditXError) -> Failed:
        return Failed(id, error.code, error.message, error.param, error.retry_after_s)

    def error(self) -> EditXError:
        return BY_CODE.get(self.code, EngineFault)(self.message, param=self.param, retry_after_s=self.retry_after_s)


Command = Open | Run | Cancel | Credit | Close
Reply = Report | Audio | Ready | Done | Failed

_commands = msgspec.msgpack.Decoder(Command)
_replies = msgspec.msgpack.Decoder(Reply)
_Frame = TypeVar("_Frame")


def encode(frame: Command | Reply) -> bytes:
    """Raises TooLarge for a frame the other side would not take."""
    body = msgspec.msgpack.encode(frame)
    if len(body) > MAX_FRAME_BYTES:
        raise TooLarge(f"a clip of {len(body) >> 20} MiB is over the {MAX_FRAME_BYTES >> 20} MiB a worker takes")
    return body


def receive_command(sock: socket.socket) -> Command | None:
    """The server's next frame, None when it has gone. Raises WireError for anything that is no frame."""
    return _receive(sock, _commands)


def receive_reply(sock: socket.socket) -> Reply | None:
    """The worker's next frame, None when it has gone. Raises WireError for anything that is no frame."""
    return _receive(sock, _replies)


def _receive(sock: socket.socket, decoder: msgspec.msgpack.Decoder[_Frame]) -> _Frame | None:
    try:
        body = frames.receive(sock, MAX_FRAME_BYTES)
        return None if body is None else decoder.decode(body)
    except frames.CutShort:
        return None  # it died while it spoke, which is no fault of the frame
    except frames.BrokenFrame as error:
        raise WireError(str(error)) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, EditXError) as error:
        raise WireError(f"a frame is no message: {error}") from None
