"""`editx serve`: bind the port, say where, and serve until told to stop."""

from __future__ import annotations

import asyncio
import logging
import math
import signal
import socket
import sys

import uvicorn
from fastapi import FastAPI

from editx.errors import InvalidRequest
from editx.server.app import create_app
from editx.server.gate import is_loopback
from editx.server.service import Service
from editx.settings import Settings
from editx.ui import Page

BACKLOG = 2048
ENDING_S = 5.0
"""How long requests that outlast the drain timeout may take to say so."""


def serve(settings: Settings) -> None:
    """Serve until SIGINT or SIGTERM; requests under way may finish within the drain timeout.

    Raises InvalidRequest when the address cannot be listened on.
    """
    logging.basicConfig(
        level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr
    )
    logging.getLogger("httpx").setLevel(logging.WARNING)
    listener = _listen(settings.host, settings.port)
    host, port = listener.getsockname()[:2]
    page = Page()
    app = create_app(settings, page)
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=math.ceil(settings.drain_timeout + ENDING_S),
        server_header=False,
    )
    server = _Announcing(config, _url(host, port), settings, page, app)
    for stop in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops gracefully and then raises the signal anew; being asked to stop is no failure.
        signal.signal(stop, lambda *_: None)
    server.run(sockets=[listener])
    if server.failed:
        raise SystemExit(1)


class _Announcing(uvicorn.Server):
    """Says where it listens once requests are accepted, and lets the page go first."""

    def __init__(self, config: uvicorn.Config, url: str, settings: Settings, page: Page, app: FastAPI) -> None:
        super().__init__(config)
        self._page = page
        self._app = app
        self._url = url
        self._settings = settings
        self.failed = False

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.failed = not self.started
        if self.started:
            print(f"EditX is listening on {self._url}", flush=True)
            print(f"  page           {self._url}/", flush=True)
            print(f"  API documents  {self._url}/docs", flush=True)
            print(f"  model status   {self._url}/api/v1/models/status", flush=True)
            if not self._settings.api_key and not is_loopback(self._settings.host):
                print("  no API key is set: everyone who can reach this address may use it", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._page.stop()
        service: Service = self._app.state.service
        late = asyncio.get_running_loop().call_later(self._settings.drain_timeout, service.runner.stop)
        await super().shutdown(sockets)
        late.cancel()


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, kind, proto, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, proto)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as error:
        raise InvalidRequest(
            f"cannot listen on {host} port {port}: {error.strerror}; choose another with --host and --port",
            param="port",
        ) from error
    return listener


def _url(host: str, port: int) -> str:
    shown = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{shown}:{port}"
