"""What every request passes before it reaches a route: id, key, origin, size; and what is logged after it."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
import uuid
from collections.abc import Iterable, Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from editx.errors import ShuttingDown, TooLarge
from editx.server import documents, login
from editx.server.bodies import PlainBytes, is_json
from editx.server.errors import CLIENT_CLOSED_REQUEST, BodyTooLarge, ErrorResponse, error_body, error_response
from editx.server.metrics import Metrics
from editx.ui.mount import PREFIXES

log = logging.getLogger("editx.access")
defects = logging.getLogger("editx.server")

OPEN_PATHS = frozenset(
    {"/health", "/healthz", "/readyz", "/openapi.json", *documents.PATHS, login.PATH, login.LEAVE_PATH}
)
"""Answered without a key: probes, and documents that hold no one's data."""

QUIET = (*PREFIXES, "/page/static/", "/theme.css", "/api/v1/models/status")
"""What a page fetches by the dozen is not worth a line each."""

SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})


class Gate:
    """ASGI middleware around the whole app.

    `keys`: bearer tokens that are accepted; none means no key is asked for. `origins`: web origins whose pages may send
    requests that change or cost something (besides pages served from here). `max_body`: bytes. `hosts`: names by which
    the server may be called besides those that nobody else can have; None means that any will do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        keys: Sequence[str],
        origins: Iterable[str],
        max_body: int,
        metrics: Metrics,
        hosts: Iterable[str] | None = None,
    ) -> None:
        self._app = app
        self._keys = [key.encode() for key in keys]
        self._origins = frozenset(origins)
        self._max_body = max_body
        self._metrics = metrics
        self._hosts = None if hosts is None else frozenset(host.lower() for host in hosts)

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
        left = False
        counted = self._counted(receive, headers)

        async def received() -> Message:
            nonlocal left
            message = await counted()
            left = left or (message["type"] == "http.disconnect" and not status)
            return message

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
                await self._app(scope, received, send_marked)
        except asyncio.CancelledError:
            # The server stops and has waited for this request long enough.
            if status:
                scope["state"]["broken_off"] = 503
            else:
                await error_response(ShuttingDown("the server is shutting down"))(scope, receive, send_marked)
        except ClientDisconnect:
            pass  # in the middle of what it sent: nobody is there to be told
        except Exception as error:
            defects.error("a defect answered %s %s", scope["method"], scope["path"], exc_info=error)
            if status:
                scope["state"]["broken_off"] = 500  # and no last piece: the client sees that this is not all
            else:
                await _defect()(scope, receive, send_marked)
        finally:
            seconds = time.monotonic() - began
            answered = complete and not left  # what the framework says of half a form, it says to nobody
            final = status if answered else scope["state"].get("broken_off", CLIENT_CLOSED_REQUEST)
            route = getattr(scope.get("route"), "path", "other")
            self._metrics.request(scope["method"], route, final, seconds)
            path = scope["raw_path"].decode("latin-1")  # still percent-encoded, so nobody can write lines into the log
            level = logging.DEBUG if scope["path"].startswith(QUIET) and final < 400 else logging.INFO
            log.log(level, "%s %s %s %.3f s id=%s", scope["method"], path, final, seconds, request_id)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        if not self._host_allowed(headers):
            message = (
                f"this server does not go by the name {headers['host']}; allow it with EDITX_ALLOWED_HOSTS, "
                "or set a key with EDITX_API_KEY"
            )
            return ErrorResponse(error_body(403, message, code="host_not_allowed"), 403)
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

    def _host_allowed(self, headers: Headers) -> bool:
        """A stranger's web page can give its own name our address, and ask as if it came from here. Where nothing but
        the address protects us, we therefore listen to names only that no stranger can have."""
        if self._hosts is None or "*" in self._hosts:
            return True
        host = host_name(headers.get("host", "localhost"))
        return is_private_name(host) or host in self._hosts

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
        plain = PlainBytes() if is_json(headers.get("content-type", "")) else None

        async def counted() -> Message:
            nonlocal taken
            message = await receive()
            piece = message.get("body", b"")
            taken += len(piece)
            if taken > self._max_body:
                raise BodyTooLarge(self._too_large())
            if plain is not None:
                try:
                    plain.add(piece)
                except TooLarge as error:
                    raise BodyTooLarge(error) from None
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(f"a request has at most {self._max_body} bytes here", param="body")


def host_name(host: str) -> str:
    """The name or address in a Host header, without its port."""
    return re.sub(r":[0-9]*$", "", host).strip("[]").rstrip(".").lower()


def is_loopback(host: str) -> bool:
    """Whether a server that listens on `host` is reached from its own machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_private_name(host: str) -> bool:
    """Whether `host` is an address, or a name that no stranger can have: localhost, one without a dot, or under
    .localhost or .internal, as container engines call the machine they run on."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return "." not in host or host.endswith((".localhost", ".internal"))
    return True


def _defect() -> Response:
    return ErrorResponse(error_body(500, "an unexpected error; the server's log has it", code="internal"), 500)
