"""Orders carried out in this process: its own studio, voices and worker, gone when the command ends."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import asdict
from pathlib import Path
from typing import Self

from editx.audio.codec import AudioLimits, Decoder, encode
from editx.backends.base import Queued, Waking
from editx.backends.local import LocalBackend
from editx.cancellation import Cancellation
from editx.cli.orders import Made, MadeStep, Notify, Order, Stage
from editx.lifecycle import Event as LifecycleEvent
from editx.processes.launcher import Launcher
from editx.recipe import Recipe, Source
from editx.settings import Settings
from editx.studio import Audio, Event, Job, Studio, Working
from editx.voices import VoiceLibrary

log = logging.getLogger(__name__)


class LocalMaker:
    """A `Maker` that loads the model here. Use it as a context manager: leaving it unloads the model."""

    def __init__(self, settings: Settings) -> None:
        with contextlib.ExitStack() as stack:
            # One command wakes a model once: a zygote would be started for a single fork.
            launcher = stack.enter_context(Launcher(zygote=False, on_log=_log_worker))
            backend = stack.enter_context(contextlib.closing(LocalBackend(settings, launcher, _unheard)))
            self._voices = stack.enter_context(contextlib.closing(VoiceLibrary(settings.data_dir / "voices")))
            self._decoder = Decoder(
                limits=AudioLimits(max_bytes=settings.max_body, max_seconds=settings.max_audio_seconds)
            )
            self._studio = Studio(
                backend, default_variant=settings.default_variant, max_text_chars=settings.max_text_chars
            )
            self.jobs = self._studio.variant().slots
            self._open = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._open.close()

    def transcript(self, voice: str) -> str:
        return self._voices.get(voice).transcript

    def make(self, order: Order, notify: Notify, cancellation: Cancellation) -> Made:
        job = Job(
            recipe=Recipe(self._source(order), order.steps),
            variant=order.variant,
            seed=order.seed,
            tempo=order.speed,
            keep_iterations=order.keep_iterations,
        )
        heard = _Heard(notify)
        result = self._studio.run(job, heard, cancellation)
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
        )

    def _source(self, order: Order) -> Source:
        if order.voice is not None:
            voice = self._voices.get(order.voice)
            return Source(voice.clip(), voice.transcript)
        if isinstance(order.recording, Path):
            return Source(self._decoder.decode_path(order.recording), order.transcript)
        assert order.recording is not None, "an order has a voice or a recording"
        return Source(self._decoder.decode(order.recording), order.transcript)


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
                self._notify(Stage(f"waiting for a turn, {position} before" if position else "waiting for a turn"))
            case Waking(variant, progress):
                self._notify(Stage(f"waking {variant}", progress.fraction))
            case Working(step, steps, kind, progress):
                self._what = kind if steps == 1 else f"{kind} ({step} of {steps})"
                self._fraction = None if progress.fraction is None else (step - 1 + progress.fraction) / steps
                self._notify(
                    Stage(f"{self._what}: {progress.stage}, {progress.seconds:.1f} s of audio", self._fraction)
                )
            case Audio(clip):
                self._seconds += clip.seconds
                self._notify(Stage(f"{self._what}: {self._seconds:.1f} s of audio", self._fraction))


def _unheard(event: LifecycleEvent) -> None:
    """Nobody watches the lifecycle of a model that lives for one command."""


def _log_worker(label: str, pid: int, line: str) -> None:
    log.info("%s[%d] %s", label, pid, line)
