"""Orders carried out in this process, by its own workshop."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from editx.audio.codec import encode
from editx.backends.base import Queued, Waking
from editx.cancellation import Cancellation
from editx.cli.orders import Made, MadeStep, Notify, Order, Stage
from editx.recipe import Recipe, Source
from editx.studio import Audio, Event, Job, Working
from editx.workshop import Workshop


class LocalMaker:
    """A `Maker` that loads the model here, in `workshop`."""

    def __init__(self, workshop: Workshop) -> None:
        self._workshop = workshop

    def jobs(self, variant: str | None) -> int:
        return self._workshop.studio.variant(variant).slots

    def transcript(self, voice: str) -> str:
        return self._workshop.voices.get(voice).transcript

    def make(self, order: Order, notify: Notify, cancellation: Cancellation) -> Made:
        job = Job(
            recipe=Recipe(self._source(order), order.steps),
            variant=order.variant,
            seed=order.seed,
            tempo=order.speed,
            keep_iterations=order.keep_iterations,
            stream=False,
        )
        heard = _Heard(notify)
        result = self._workshop.studio.run(job, heard, cancellation)
        return Made(
            data=encode(result.clip, order.format),
            seconds=result.clip.seconds,
            variant=result.variant,
            seed=result.seed,
            timings=asdict(result.timings),
            steps=tuple(
                MadeStep(made.step, encode(made.clip, order.format), made.clip.seconds, made.transcript)
                for made in result.iterations
            ),
            finish_reason=result.finish_reason,
        )

    def _source(self, order: Order) -> Source:
        if order.voice is not None:
            voice = self._workshop.voices.get(order.voice)
            return Source(voice.clip(), voice.transcript)
        if isinstance(order.recording, Path):
            return Source(self._workshop.decoder.decode_path(order.recording), order.transcript)
        assert order.recording is not None, "an order has a voice or a recording"
        return Source(self._workshop.decoder.decode(order.recording), order.transcript)


class _Heard:
    """Turns the events of a job into stages."""

    def __init__(self, notify: Notify) -> None:
        self._notify = notify
        self._what = ""
        self._seconds = 0.0
        self._fraction: float | None = None

    def __call__(self, event: Event) -> None:
        match event:
            case Queued(position):
                self._notify(Stage(f"waiting for a turn, {position} before" if position else "waking the model"))
            case Waking(variant, progress):
                self._notify(Stage(f"waking {variant}", progress.fraction))
            case Working(step, steps, kind, progress):
                self._what = kind if steps == 1 else f"{kind} ({step} of {steps})"
                self._fraction = None if progress.fraction is None else (step - 1 + progress.fraction) / steps
                made = self._seconds or progress.seconds
                so_far = f", {made:.1f} s of audio" if made else ""
                self._notify(Stage(f"{self._what}: {progress.stage}{so_far}", self._fraction))
            case Audio(clip):
                self._seconds += clip.seconds
                self._notify(Stage(f"{self._what}: {self._seconds:.1f} s of audio", self._fraction))
