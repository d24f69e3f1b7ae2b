"""What a command wants made, and what it gets, wherever the model runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from editx.cancellation import Cancellation
from editx.recipe import AnyStep, Step


@dataclass(frozen=True, slots=True)
class Order:
    """A source and what to do to it.

    The source is a `voice` of the library or a `recording` (a file, or its bytes) in which `transcript` is said. A
    `Clone` can only be the first step. `speed` plays the result faster at the same pitch, for a clone. `format`: of
    every file that comes back.
    """

    steps: tuple[AnyStep, ...]
    voice: str | None = None
    recording: Path | bytes | None = None
    transcript: str = ""
    variant: str | None = None
    seed: int | None = None
    speed: float = 1.0
    format: str = "wav"
    keep_iterations: bool = False


@dataclass(frozen=True, slots=True)
class MadeStep:
    """What one step made: an audio file, its length in seconds, and the words now spoken."""

    step: Step
    data: bytes
    seconds: float
    transcript: str


@dataclass(frozen=True, slots=True)
class Made:
    """An audio file, and how it came about. `seconds` is its length, `timings` are seconds by stage; `finish_reason` as
    in `studio.Result`.

    With `Order.keep_iterations`, `steps` holds every step and `data` is that of the last.
    """

    data: bytes
    seconds: float
    variant: str
    seed: int
    timings: dict[str, float]
    steps: tuple[MadeStep, ...] = ()
    finish_reason: str = "stop"


@dataclass(frozen=True, slots=True)
class Stage:
    """What is being done now, in words; `fraction` of all of it is done, None while nobody can know."""

    text: str
    fraction: float | None = None


Notify = Callable[[Stage], None]


class Maker(Protocol):
    """Carries out orders: in this process, or through a server. Safe to use from several threads."""

    def jobs(self, variant: str | None) -> int:
        """How many orders for a variant are worth giving at once. Raises NotFound or LoadFailed."""
        ...

    def make(self, order: Order, notify: Notify, cancellation: Cancellation) -> Made:
        """Carry out one order. Blocks; raises EditXError, and Cancelled soon after it was cancelled."""
        ...

    def transcript(self, voice: str) -> str:
        """What is said in a voice of the library. Raises NotFound for a name it does not have."""
        ...
