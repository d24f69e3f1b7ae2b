"""The application: routes, middleware and what lives as long as the server does."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi import FastAPI
from fastapi.middleware.cors import CORSMiddleware
from starlette.routing import Route

import editx
from editx.runner import Runner
from editx.server import edits, errors, health, library, models, replies, speech
from editx.server.bodies import schemas_of
from editx.server.documents import documents_router
from editx.server.gate import Gate, is_loopback
from editx.server.login import login_router
from editx.server.metrics import Metrics
from editx.server.schemas import RenameBody, SpeechBody
from editx.server.service import Service
from editx.settings import Settings
from editx.ui import Page, Parts, page_router
from editx.ui.desks import Desks
from editx.ui.mount import PATHS, PREFIXES
from editx.ui.running import Running
from editx.ui.sounds import Sounds
from editx.workshop import open_workshop

EXTRA_THREADS = 32
"""Threads for jobs beyond those that may wait in the queue: for the ones at work, loads and unloads."""

DESCRIPTION = """Voice cloning and speech editing with Step-Audio-EditX, behind OpenAI's speech API.

Models are loaded by the first request that needs them and unloaded when idle."""


def create_app(settings: Settings, page: Page | None = None) -> FastAPI:
    """The ASGI application for `settings`. Nothing is started before its lifespan begins."""
    metrics = Metrics()
    sounds = Sounds()
    desks = Desks(sounds)
    page = page or Page()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with open_service(settings, metrics) as service, sounds:
            app.state.service = service
            parts = Parts(
                settings, service.studio, service.voices, service.decoder_until, service.runner, sounds, Running(),
                desks,
            )  # fmt: skip
            async with page.serving(parts):
                yield

    app = FastAPI(
        title="EditX",
        version=editx.__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for topic in (speech, edits, library, models, health):
        app.include_router(topic.router)
    app.include_router(login_router([key.get_secret_value().encode() for key in settings.api_key]))
    app.include_router(page_router(sounds, desks))
    app.include_router(documents_router())
    for path in (*PATHS, *(f"{prefix}/{{rest:path}}" for prefix in PREFIXES)):
        app.router.routes.append(Route(path, page))
    errors.install(app)
    app.add_middleware(
        Gate,
        keys=[key.get_secret_value() for key in settings.api_key],
        origins=settings.cors_origins,
        max_body=settings.max_body,
        metrics=metrics,
        hosts=None if settings.api_key or not is_loopback(settings.host) else settings.allowed_hosts,
    )
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=settings.cors_origins,
            allow_methods=["GET", "POST", "PATCH", "DELETE"],
            allow_headers=["*"],  # OpenAI's package for browsers sends a dozen of its own
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
        schema["components"]["schemas"] |= schemas_of(SpeechBody, RenameBody)
        if settings.api_key:
            schema["components"]["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
            schema["security"] = [{"key": []}]
        return schema

    app.openapi = openapi  # type: ignore[method-assign]
    return app


@contextlib.contextmanager
def open_service(settings: Settings, metrics: Metrics) -> Iterator[Service]:
    """Everything a server holds, and its end: no process, thread or file is left behind."""
    threads = settings.queue_size + EXTRA_THREADS
    with (
        open_workshop(settings, metrics.lifecycle) as workshop,
        contextlib.closing(Runner(workshop.studio, metrics, threads=threads, queue_size=settings.queue_size)) as runner,
        contextlib.closing(workshop.backend),  # before the runner, whose threads may wait for a model
    ):
        metrics.watch(workshop.backend)
        yield Service(settings, workshop.studio, workshop.voices, workshop.decoder_until, runner, metrics)
