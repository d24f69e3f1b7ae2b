"""What the routes share: one studio, one voice library, one runner, put together from the settings."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from editx.audio.codec import Decoder
from editx.cancellation import Cancellation
from editx.errors import BackingOff
from editx.lifecycle.crashes import MAX_BACKOFF_WAIT_S
from editx.runner import Runner
from editx.server.metrics import Metrics
from editx.settings import Settings
from editx.studio import Studio
from editx.voices import VoiceLibrary


@dataclass(frozen=True, slots=True)
class Service:
    """The parts of one server."""

    settings: Settings
    studio: Studio
    voices: VoiceLibrary
    decoder_until: Callable[[Cancellation], Decoder]
    runner: Runner
    metrics: Metrics

    def admit(self) -> None:
        """Refuse work before any of it is done. Raises QueueFull when no request would be accepted now."""
        self.studio.backend.admit()

    def ready(self) -> None:
        """Do nothing where a request that names no variant would be accepted now. Raises what it would be told."""
        self.admit()
        name = self.studio.variant().name
        wait = self.studio.backend.status()[name]["retry_in"]
        if wait is not None and wait > MAX_BACKOFF_WAIT_S:
            raise BackingOff(f"{name} crashed repeatedly and is tried again in {wait:.0f} s", retry_after_s=wait)


def of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


The = Annotated[Service, Depends(of)]
