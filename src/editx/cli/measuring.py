"""How fast a workshop clones and edits, cold and warm, and what memory its worker takes."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

from editx.backends.base import Backend
from editx.cancellation import Cancellation
from editx.cli.orders import Notify, Stage
from editx.processes.memory import resident_bytes
from editx.recipe import AnyStep, Clone, Emotion, Recipe, Source
from editx.studio import Job
from editx.workshop import Workshop

VOICE = "alloy"
TEXT = "The train to the coast leaves at nine, and it is never late."
EDIT = Emotion("happy")
KEEP = -1.0


@dataclass(frozen=True, slots=True)
class Speed:
    """One request. `load_seconds` is 0 where the model was there. `first_audio_seconds` counts from the request, with
    the load; `real_time_factor` is the time without the load over that of the audio."""

    load_seconds: float
    first_audio_seconds: float
    real_time_factor: float
    audio_seconds: float


@dataclass(frozen=True, slots=True)
class Speeds:
    """`cold`: the first request, which loads the model. `warm`: medians of those after it."""

    cold: Speed
    warm: Speed


@dataclass(frozen=True, slots=True)
class Memory:
    """What the worker process and those it started hold, in GB; 0 once it has ended."""

    ram_gb: float
    gpu_gb: float


@dataclass(frozen=True, slots=True)
class Table:
    """Everything measured in one go."""

    variant: str
    runs: int
    clone: Speeds
    edit: Speeds
    loaded: Memory
    unloaded: Memory


def measure(workshop: Workshop, variant: str | None, runs: int, notify: Notify, cancellation: Cancellation) -> Table:
    """Measure `runs` warm requests of each kind, and a cold one before them. Raises as `Studio.run`."""
    name = workshop.studio.variant(variant).name
    done = 0

    def speeds(what: str, step: AnyStep) -> Speeds:
        nonlocal done
        measured = []
        for number in range(runs + 1):
            state = f"warm, {number} of {runs}" if number else "cold"
            notify(Stage(f"{what}, {state}", done / (2 * runs + 2)))
            measured.append(_once(workshop, name, step, cancellation))
            done += 1
        return Speeds(measured[0], _median(measured[1:]))

    clone = speeds("clone", Clone(TEXT))
    workshop.backend.unload(name)
    edit = speeds("edit", EDIT)
    pid = workshop.backend.status()[name]["pid"]
    loaded = _memory(workshop.backend, name, pid)
    workshop.backend.unload(name)
    return Table(name, runs, clone, edit, loaded, _memory(workshop.backend, name, pid))


def _once(workshop: Workshop, variant: str, step: AnyStep, cancellation: Cancellation) -> Speed:
    voice = workshop.voices.get(VOICE)
    recipe = Recipe(Source(voice.clip(), voice.transcript), (step,))
    job = Job(recipe, variant=variant, seed=1, keep_alive=KEEP)
    result = workshop.studio.run(job, lambda event: None, cancellation)
    timings, audio = result.timings, result.clip.seconds
    worked = timings.total - timings.load - timings.queue
    return Speed(*(round(value, 4) for value in (timings.load, timings.first_audio, worked / audio, audio)))


def _median(speeds: list[Speed]) -> Speed:
    return Speed(
        load_seconds=0.0,
        first_audio_seconds=statistics.median(speed.first_audio_seconds for speed in speeds),
        real_time_factor=statistics.median(speed.real_time_factor for speed in speeds),
        audio_seconds=statistics.median(speed.audio_seconds for speed in speeds),
    )


def _memory(backend: Backend, variant: str, pid: int) -> Memory:
    """Asked of the system, so that a worker which did not end is seen."""
    return Memory(round(resident_bytes(pid) / 1e9, 3), backend.status()[variant]["gpu_memory_process_gb"])
