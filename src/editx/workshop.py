"""Everything that makes speech in one process, put together from the settings: what servers and commands both need."""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from editx.audio.codec import AudioLimits, Decoder
from editx.audio.launched import launched
from editx.backends.base import Backend
from editx.backends.local import LocalBackend
from editx.cancellation import Cancellation
from editx.engines.catalog import catalog
from editx.errors import InvalidRequest
from editx.lifecycle import Event, Observer
from editx.processes.launcher import Launcher
from editx.settings import Settings
from editx.studio import Studio
from editx.voices import VoiceLibrary

log = logging.getLogger("editx.worker")
lifecycle_log = logging.getLogger("editx.lifecycle")

PRELOADED = ("editx.worker.host", "editx.audio.launched", "editx.audio.decode_child")
"""What children need to have imported besides their engine."""


@dataclass(frozen=True, slots=True)
class Workshop:
    """The parts; no model is loaded before one is needed."""

    backend: Backend
    studio: Studio
    voices: VoiceLibrary
    decoder: Decoder
    decoder_until: Callable[[Cancellation], Decoder]
    """A decoder for one request, whose child is killed when the request is given up."""


@contextlib.contextmanager
def open_workshop(settings: Settings, observer: Observer) -> Iterator[Workshop]:
    """A workshop, and its end: no process, thread or file is left behind. `observer` hears of every load and unload.

    Raises InvalidRequest when the data directory cannot be used.
    """
    with contextlib.ExitStack() as stack:
        launcher = stack.enter_context(
            Launcher(zygote=settings.zygote, preload=_preloaded(settings), on_log=_log_worker)
        )
        backend = stack.enter_context(contextlib.closing(LocalBackend(settings, launcher, _logged(observer))))
        limits = AudioLimits(max_bytes=settings.max_body, max_seconds=settings.max_audio_seconds)
        decoder = Decoder(launched(launcher), limits)

        def decoder_until(cancellation: Cancellation) -> Decoder:
            return Decoder(launched(launcher, cancellation), limits)

        studio = Studio(backend, default_variant=settings.default_variant, max_text_chars=settings.max_text_chars)
        # The library's recordings come with the package, or were accepted once: today's limits are for strangers.
        least = AudioLimits()
        own = AudioLimits(max(least.max_bytes, limits.max_bytes), max(least.max_seconds, limits.max_seconds))
        voices = stack.enter_context(open_voices(settings, Decoder(launched(launcher), own)))
        yield Workshop(backend, studio, voices, decoder, decoder_until)


def open_voices(settings: Settings, decoder: Decoder | None = None) -> VoiceLibrary:
    """The voice library of these settings; close it. Raises InvalidRequest when its directory cannot be used."""
    directory = settings.data_dir / "voices"
    try:
        return VoiceLibrary(directory, decoder=decoder)
    except (OSError, sqlite3.Error) as error:
        reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidRequest(f"the voices in {directory} cannot be used: {reason}", param="data_dir") from error


def _preloaded(settings: Settings) -> tuple[str, ...]:
    """What children need to have imported, done by the zygote once for all; engines that cannot be loaded are not."""
    engines = (spec.entry.partition(":")[0] for spec in catalog(settings.model_path) if spec.available)
    return tuple(dict.fromkeys((*PRELOADED, *engines)))


def _log_worker(label: str, pid: int, line: str) -> None:
    log.info("%s[%d] %s", label, pid, line)


def _logged(observer: Observer) -> Observer:
    """`observer`, after a line in the log for what an operator wants to read about a model."""

    def told(event: Event) -> None:
        if event.kind == "ready":
            lifecycle_log.info("%s loaded in %.2f s", event.name, event.seconds or 0.0)
        elif event.kind == "load_failed":
            lifecycle_log.warning("%s could not be loaded: %s", event.name, event.error)
        elif event.kind == "unloaded":
            lifecycle_log.info("%s unloaded (%s)", event.name, event.reason)
        elif event.kind == "crashed":
            lifecycle_log.warning("%s crashed: %s", event.name, event.error)
        observer(event)

    return told
