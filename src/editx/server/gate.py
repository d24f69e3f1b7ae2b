"""What every request passes before it reaches a route: id, key, origin, size; and what is logged after it."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from editx.errors import TooLarge
from editx.server import documents, login
from editx.server.errors import CLIENT_CLOSED_REQUEST, BodyTooLarge, ErrorResponse, error_body, error_response
from editx.server.metrics import Metrics

log = logging.getLogger("editx.access")

OPEN_PATHS = frozenset(
    {"/health", "/healthz", "/readyz", "/openapi.json", *documents.PATHS, login.PATH, login.LEAVE_PATH}
)
"""Answered without a key: probes, and documents that hold no one's data."""

QUIET = (
    "/assets/", "/static/", "/svelte/", "/page/static/", "/page/en/", "/page/zh/", "/gradio_api/", "/theme.css",
    "/api/v1/models/status",
)  # fmt: skip
"""What a page fetches by the dozen is not worth a line each."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware around the whole app.

    `keys`: bearer tokens that are accepted; none means no key is asked for. `origins`: web origins whose pages may send
    requests that change or cost something (besides pages served from here). `max_body`: bytes.
    """

    def __init__(
        self, app: ASGIApp, *, keys: Sequence[str], origins: Iterable[str], max_body: int, metrics: Metrics
    ) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._origins = frozenset(origins)
        self._max_body = max_body
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        given = headers.get("x-request-id", "")
        request_id = given if re.fullmatch(r"[\w.-]{1,64}", given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        began = time.monotonic()
        status = 0
        complete = False

        async def send_marked(message: Message) -> None:
            nonlocal status, complete
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)["X-Request-Id"] = request_id
            elif message["type"] == "http.response.body":
                complete = not message.get("more_body", False)
            await send(message)

        try:
            refusal = self._refusal(scope, headers)
            if refusal is not None:
                await refusal(scope, receive, send_marked)
            else:
                await self._app(scope, self._counted(receive, headers), send_marked)
        finally:
            seconds = time.monotonic() - began
            final = status if complete else scope["state"].get("broken_off", CLIENT_CLOSED_REQUEST)
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, final, seconds)
            path = scope["raw_path"].decode("latin-1")  # still percent-encoded, so nobody can write lines into the log
            level = logging.DEBUG if scope["path"].startswith(QUIET) and final < 400 else logging.INFO
            log.log(level, "%s %s %s %.3f s id=%s", scope["method"], path, final, seconds, request_id)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if scope["method"] not in SAFE_METHODS and not self._origin_allowed(headers):
            message = f"pages of {headers['origin']} may not use this server; allow it with --cors-origins"
            return ErrorResponse(error_body(403, message, code="origin_not_allowed"), 403)
        if self._keys and scope["path"] not in OPEN_PATHS and not self._key_fits(scope, headers):
            if scope["path"] == "/" and "text/html" in headers.get("accept", ""):
                return login.form(Request(scope))
            message = "this server needs an API key: send `Authorization: Bearer <key>`"
            return ErrorResponse(error_body(401, message, code="invalid_api_key"), 401, {"WWW-Authenticate": "Bearer"})
        declared = headers.get("content-length", "0")
        if declared.isdigit() and int(declared) > self._max_body:
            return error_response(self._too_large())
        return None

    def _origin_allowed(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        if origin is None or origin in self._origins or "*" in self._origins:
            return True
        return urlsplit(origin).netloc == headers.get("host")

    def _key_fits(self, scope: Scope, headers: Headers) -> bool:
        scheme, _, token = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            return login.is_key(self._keys, token.strip(" \t").encode("latin-1"))  # as the bytes that came
        return login.has_cookie(self._keys, Request(scope))

    def _counted(self, receive: Receive, headers: Headers) -> Receive:
        taken = 0

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > self._max_body:
                raise BodyTooLarge(self._too_large())
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a request has at most {self._max_body} bytes here", param="body")
