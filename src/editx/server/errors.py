"""The one place where errors become HTTP: OpenAI's shape, and the status each kind of error has."""

from __future__ import annotations

import http
import json
import math
import re
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel, Field, ValidationError
from starlette.exceptions import HTTPException

from editx import errors

CLIENT_CLOSED_REQUEST = 499
STATUS: dict[type[errors.EditXError], int] = {
    errors.InvalidRequest: 400,
    errors.NotFound: 404,
    errors.Conflict: 409,
    errors.TooLarge: 413,
    errors.QueueFull: 429,
    errors.Cancelled: CLIENT_CLOSED_REQUEST,
    errors.ModelUnavailable: 503,
    errors.Stalled: 504,
    errors.StorageFailed: 507,
    errors.EngineFault: 500,
    errors.EditXError: 500,
}
RETRY_AFTER_S = 1.0
MAX_MESSAGE_CHARS = 2_000
"""A message quotes what was wrong, and that may be long."""

_EITHER = {
    "keep_alive": 'expected seconds such as 300, a time such as "5m", 0 or -1',
    "voice": 'expected a name such as "alloy", or an object such as {"id": "alloy"}',
}
"""Fields that take several kinds of values: pydantic complains of each kind, and we say once what is expected."""
_FORM_TEXTS = {
    "/v1/audio/speech/upload": ("payload",),
    "/v1/audio/edits": ("steps", "transcript"),
    "/v1/voices": ("transcript", "name"),
}
_LIMITS = ("string_too_long", "string_too_short")


class ErrorDetail(BaseModel):
    """What went wrong, as OpenAI's clients read it."""

    message: str = Field(description="What was wrong and what is expected.")
    type: str = Field(description="invalid_request_error, authentication_error, rate_limit_error or server_error.")
    param: str | None = Field(None, description="The parameter that did not fit.")
    code: str | None = Field(None, description="A stable name of the kind of error.")


class ErrorBody(BaseModel):
    """The body of every response that is not a success."""

    error: ErrorDetail


class BodyTooLarge(HTTPException):
    """The body grew over the limit while a route was reading it; frameworks let this kind of exception through."""

    def __init__(self, error: errors.TooLarge) -> None:
        super().__init__(STATUS[errors.TooLarge], error.message)
        self.error = error


def status_of(error: errors.EditXError) -> int:
    """The HTTP status of an error: that of its nearest listed ancestor."""
    return next(STATUS[kind] for kind in type(error).__mro__ if kind in STATUS)


def error_body(status: int, message: str, *, code: str | None = None, param: str | None = None) -> dict[str, Any]:
    """OpenAI's error object for a status."""
    kind = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}.get(
        status, "invalid_request_error" if status < 500 else "server_error"
    )
    if len(message) > MAX_MESSAGE_CHARS:
        message = f"{message[:MAX_MESSAGE_CHARS]}…"
    return {"error": {"message": message, "type": kind, "param": param, "code": code}}


class ErrorResponse(JSONResponse):
    """JSON in ASCII, so that even a message that quotes half a character can be sent."""

    def render(self, content: Any) -> bytes:
        return json.dumps(content, separators=(",", ":")).encode("ascii")


def error_response(error: errors.EditXError) -> ErrorResponse:
    """The response for an error raised on purpose."""
    status = status_of(error)
    headers = {}
    if status in (429, 503):
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s or RETRY_AFTER_S)))
    return ErrorResponse(error_body(status, error.message, code=error.code, param=error.param), status, headers)


def validation_message(
    found: RequestValidationError | ValidationError, *, within: str | None = None
) -> tuple[str, str | None]:
    """One sentence on the first thing that does not fit a schema, and the parameter it is about.

    `within` is the field of a form that holds the JSON which was checked.
    """
    first = found.errors()[0]
    where = [str(part) for part in first["loc"] if part not in ("body", "query", "path", "header")]
    if first["type"] == "json_invalid":
        return f"{within or 'the body'} is not valid JSON: {first.get('ctx', {}).get('error', first['msg'])}", within
    said = first["msg"].removeprefix("Value error, ")
    if where and where[0] in _EITHER:  # what follows names the kinds of values that were tried
        said = f"{_EITHER[where[0]]}; {said}" if first["type"] in _LIMITS else _EITHER[where[0]]
        where = where[:1]
    elif first["type"] == "extra_forbidden":
        said = "there is no such field"
    param = ".".join([within, *where] if within else where) or None
    return f"{param or 'the request'}: {said}", param


def install(app: FastAPI) -> None:
    """Make `app` answer every error in OpenAI's shape."""

    @app.exception_handler(errors.EditXError)
    async def known(request: Request, error: errors.EditXError) -> ErrorResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> ErrorResponse:
        message, param = validation_message(error)
        return ErrorResponse(error_body(400, message, code="invalid_request", param=param), 400)

    @app.exception_handler(HTTPException)
    async def http_error(request: Request, error: HTTPException) -> ErrorResponse:
        if isinstance(error, BodyTooLarge):
            return error_response(error.error)
        if re.fullmatch(r"(Part|Field) exceeded maximum size of \d+KB\.", str(error.detail)):
            return error_response(_form_too_large(request.url.path))
        message = f"{error.detail}: {request.method} {request.url.path}"
        code = http.HTTPStatus(error.status_code).name.lower()
        headers = dict(error.headers or {})
        if error.status_code == 405:
            headers["Allow"] = ", ".join(_methods(app, request.url.path))
        return ErrorResponse(error_body(error.status_code, message, code=code), error.status_code, headers)


def _form_too_large(path: str) -> errors.TooLarge:
    """What to say of a form's text that is over the framework's limit; it does not tell which one that was."""
    fields = _FORM_TEXTS.get(path, ())
    which = " or ".join(fields) or "a text field"
    message = f"{which}: a text in a form has at most 1 MiB; send recordings as files, with a file name"
    return errors.TooLarge(message, param=fields[0] if len(fields) == 1 else None)


def _methods(app: FastAPI, path: str) -> list[str]:
    """Every method that is answered at this path; the router itself names those of one route only."""
    found = {
        method.upper()
        for template, operations in app.openapi()["paths"].items()
        if re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path)
        for method in operations
    }
    return sorted(found)


RESPONSES: dict[int | str, dict[str, Any]] = {
    status: {"model": ErrorBody, "description": description}
    for status, description in (
        (400, "The request does not fit, or its audio cannot be decoded."),
        (401, "A key is needed and none that fits was sent."),
        (403, "The page that sent this is on a web origin that is not allowed."),
        (404, "No such model, variant or voice."),
        (409, "The name is taken or may not be changed."),
        (413, "Over a limit on bytes, seconds, channels or characters."),
        (429, "Too many requests wait already; Retry-After says when to come back."),
        (500, "A defect."),
        (503, "The model cannot be loaded, or its worker died."),
        (504, "The worker showed no sign of life and was killed."),
        (507, "The disk takes no more, or does not let the server write."),
    )
}
"""What any route may answer besides success, for the schema."""
