"""What the routes share: one studio, one voice library, one runner, put together from the settings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from editx.audio.codec import Decoder
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
    decoder: Decoder
    runner: Runner
    metrics: Metrics

    def admit(self) -> None:
        """Refuse work before any of it is done. Raises QueueFull when no request would be accepted now."""
        self.studio.backend.admit()


def of(request: Request) -> Service:
    """The service behind a request."""
    service: Service = request.app.state.service
    return service


The = Annotated[Service, Depends(of)]
