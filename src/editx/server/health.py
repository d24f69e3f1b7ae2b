"""Probes and metrics. None of these touches a model."""

from __future__ import annotations

from fastapi import APIRouter, Response
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST

from editx.errors import EditXError
from editx.server.errors import ErrorBody, ErrorResponse, error_body
from editx.server.service import The

router = APIRouter(tags=["health"])


@router.get("/health")
@router.get("/healthz")
async def healthz() -> dict[str, str]:
    """Whether the process answers."""
    return {"status": "ok"}


@router.get("/readyz", responses={503: {"model": ErrorBody, "description": "Why a request would be refused."}})
async def readyz(service: The) -> JSONResponse:
    """Whether a request would be accepted now. A model that is not loaded is ready to serve."""
    try:
        service.ready()
    except EditXError as error:
        return ErrorResponse(error_body(503, error.message, code=error.code), 503)
    return JSONResponse({"status": "ready"})


@router.get("/metrics", response_class=Response)
async def metrics(service: The) -> Response:
    """For Prometheus."""
    return Response(service.metrics.render(), media_type=CONTENT_TYPE_LATEST)
