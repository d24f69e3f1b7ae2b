"""The application: routes, middleware and what lives as long as the server does."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware

import editx
from editx.audio.codec import AudioLimits, Decoder
from editx.audio.launched import launched
from editx.backends.local import LocalBackend
from editx.processes.launcher import Launcher
from editx.server import edits, errors, health, library, models, replies, speech
from editx.server.gate import Gate
from editx.server.jobs import Runner
from editx.server.metrics import Metrics
from editx.server.service import Service
from editx.settings import Settings
from editx.studio import Studio
from editx.voices import VoiceLibrary

log = logging.getLogger("editx.worker")

EXTRA_THREADS = 32
"""Threads for jobs beyond those that may wait in the queue: for the ones at work, loads and unloads."""

PRELOADED = ("editx.worker.host", "editx.audio.launched", "editx.audio.decode_child")
"""What children need to have imported; the zygote does it once for all."""

DESCRIPTION = """Voice cloning and speech editing with Step-Audio-EditX, behind OpenAI's speech API.

Models are loaded by the first request that needs them and unloaded when idle."""


def create_app(settings: Settings) -> FastAPI:
    """The ASGI application for `settings`. Nothing is started before its lifespan begins."""
    metrics = Metrics()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_service(settings, metrics) as service:
            app.state.service = service
            yield

    app = FastAPI(title="EditX", version=editx.__version__, description=DESCRIPTION, lifespan=lifespan, redoc_url=None)
    for topic in (speech, edits, library, models, health):
        app.include_router(topic.router)
    errors.install(app)
    app.add_middleware(
        Gate,
        keys=[key.get_secret_value() for key in settings.api_key],
        origins=settings.cors_origins,
        max_body=settings.max_body,
        metrics=metrics,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "X-Request-Id"],
            expose_headers=["X-Request-Id", *replies.HEADERS],
        )
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        """The schema, with this server's errors in place of the framework's 422."""
        schema = describe()
        for operations in schema["paths"].values():
            for operation in operations.values():
                operation["responses"].pop("422", None)
        for unused in ("HTTPValidationError", "ValidationError"):
            schema["components"]["schemas"].pop(unused, None)
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@contextlib.contextmanager
def open_service(settings: Settings, metrics: Metrics) -> Iterator[Service]:
    """Everything a server holds, and its end: no process, thread or file is left behind."""
    with contextlib.ExitStack() as stack:
        launcher = stack.enter_context(Launcher(zygote=settings.zygote, preload=PRELOADED, on_log=_log_worker))
        backend = stack.enter_context(contextlib.closing(LocalBackend(settings, launcher, metrics.lifecycle)))
        limits = AudioLimits(max_bytes=settings.max_body, max_seconds=settings.max_audio_seconds)
        decoder = Decoder(launched(launcher), limits)
        studio = Studio(backend, default_variant=settings.default_variant, max_text_chars=settings.max_text_chars)
        voices = stack.enter_context(contextlib.closing(VoiceLibrary(settings.data_dir / "voices", decoder=decoder)))
        runner = stack.enter_context(
            contextlib.closing(Runner(studio, metrics, threads=settings.queue_size + EXTRA_THREADS))
        )
        metrics.watch(backend)
        yield Service(settings, studio, voices, decoder, runner, metrics)


def _log_worker(label: str, pid: int, line: str) -> None:
    log.info("%s[%d] %s", label, pid, line)
