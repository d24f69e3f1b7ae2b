"""What an engine is: the protocol between a worker process and the code that makes sound."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.errors import EngineFault
from editx.recipe import Step


class Progress(msgspec.Struct, frozen=True):
    """A sign of life. `stage` is one of loading, preprocessing, generation, decoding; `fraction` is 0 to 1, or None
    while nobody can know; `seconds` is how much audio of the result exists so far. `cut`: the result ends here because
    it reached its limit, not because the model ended it."""

    stage: str
    fraction: float | None = None
    seconds: float = 0.0
    cut: bool = False


class DeviceLost(EngineFault):
    """The device refuses all further work of this process, which therefore has to end. Never leaves the worker."""


class Sampling(msgspec.Struct, frozen=True):
    """How tokens are drawn; None leaves the engine's default (spec 20 §5). `lite` ignores it."""

    temperature: float | None = None
    top_k: int | None = None
    top_p: float | None = None


class Memory(msgspec.Struct, frozen=True):
    """What an engine holds on its device now, in bytes, and the most it has held."""

    gpu_allocated: int = 0
    gpu_reserved: int = 0
    gpu_peak: int = 0


@dataclass(frozen=True, slots=True)
class Context:
    """Everything about a step that is neither the step nor the clip.

    `transcript`: the words spoken in the clip, empty when unknown. `seed`: 0 to 2**63 - 1; the same seed, input, engine
    and device give the same samples. `stream`: whether the result is heard while it is made; one that is not may be
    made in one piece, where that sounds better, and then has other samples. `cancellation`: asked between units of
    work; engines raise `Cancelled` from it.
    """

    transcript: str = ""
    seed: int = 0
    sampling: Sampling = field(default_factory=Sampling)
    stream: bool = True
    cancellation: Cancellation = field(default_factory=Cancellation)


class Engine(Protocol):
    """Code that turns steps into sound. One instance serves several threads at once, up to its variant's slots."""

    sample_rate: int
    """Of everything `run` yields, in Hz."""

    def run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip]:
        """Apply `step` to `clip`, yielding progress and the result's audio in order, in chunks.

        For `Clone`, `clip` is the reference recording and `context.transcript` what it says; for the rest `clip` is
        what is edited. `clip` may have any sample rate. Raises EditXError for what the caller did wrong, `Cancelled`
        soon after `context.cancellation` is set, DeviceLost when the process can do no more, anything else for a
        defect.
        """
        ...

    def memory(self) -> Memory:
        """Device memory held, in bytes."""
        ...

    def close(self) -> None:
        """Give everything back."""
        ...


class OpenEngine(Protocol):
    """A module's `open_engine`, called in the worker process: loads one variant and returns it ready to run.

    `options` are the plain values of the variant (`VariantSpec.options`); `report` is told of progress while loading.
    """

    def __call__(self, variant: str, options: dict[str, object], report: Callable[[Progress], None]) -> Engine: ...
