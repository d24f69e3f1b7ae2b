"""Models: OpenAI's lists, what is loaded, load and unload, and the shapes other clients ask for."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

from fastapi import APIRouter

from editx.errors import NotFound
from editx.server.errors import RESPONSES
from editx.server.requests import MODEL, MODEL_ALIASES
from editx.server.schemas import MAX_KEEP_ALIVE_S, ModelList, ModelObject, StatusBody, UnloadBody
from editx.server.service import Service, The

router = APIRouter(tags=["models"], responses=RESPONSES)
_STARTED = int(time.time())


@router.get("/api/v1/models/status")
async def status(service: The) -> StatusBody:
    """What each variant is doing. Asking never wakes a model or restarts its clock."""
    return service.studio.backend.status()


@router.post("/api/v1/models/{variant}/load")
async def load(variant: str, service: The) -> UnloadBody:
    """Load a variant now; its idle clock starts when it is there."""
    service.studio.variant(variant)
    await service.runner.wait(lambda: service.studio.backend.load(variant))
    return UnloadBody(status="loaded", variant=variant)


@router.post("/api/v1/models/{variant}/unload")
async def unload(variant: str, service: The, now: bool = False) -> UnloadBody:
    """Give a variant back. Waits for requests under way unless `now`, which ends them with a clear error."""
    await service.runner.wait(lambda: service.studio.backend.unload(variant, now=now))
    return UnloadBody(status="unloaded", variant=variant)


@router.get("/v1/models")
async def models(service: The) -> ModelList:
    """All model ids."""
    return ModelList(data=[_model(name) for name in _ids(service)])


@router.get("/v1/models/{model}")
async def model(model: str, service: The) -> ModelObject:
    """One model."""
    if model not in _ids(service):
        raise NotFound(f"there is no model {model!r}; known: {', '.join(_ids(service))}", param="model")
    return _model(model)


@router.get("/v1/audio/models")
async def audio_models(service: The) -> dict[str, list[dict[str, str]]]:
    """The models, as Open WebUI asks for them."""
    return {"models": [{"id": name, "name": name} for name in _ids(service)]}


@router.get("/api/ps")
async def loaded(service: The) -> dict[str, list[dict[str, Any]]]:
    """What is loaded now, in Ollama's shape."""
    return {"models": [_ps(name, row) for name, row in service.studio.backend.status().items() if row["loaded"]]}


def _ps(name: str, row: dict[str, Any]) -> dict[str, Any]:
    left = row["time_until_unload"]
    never = datetime.max.replace(tzinfo=UTC)
    expires = never if left is None or left > MAX_KEEP_ALIVE_S else datetime.now(UTC) + timedelta(seconds=left)
    return {
        "name": f"{MODEL}:{name}",
        "model": f"{MODEL}:{name}",
        "size": round(row["ram_process_gb"] * 1e9),
        "size_vram": round(row["gpu_memory_process_gb"] * 1e9),
        "expires_at": expires.isoformat(),
        "details": {"family": MODEL, "quantization_level": name},
    }


def _ids(service: Service) -> list[str]:
    names = [spec.name for spec in service.studio.backend.catalog()]
    return [*MODEL_ALIASES, *names, *(f"{MODEL}:{name}" for name in names)]


def _model(name: str) -> ModelObject:
    return ModelObject(id=name, created=_STARTED)
