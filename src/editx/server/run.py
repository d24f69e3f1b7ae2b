"""`editx serve`: bind the port, say where, and serve until told to stop."""

from __future__ import annotations

import logging
import signal
import socket
import sys

import uvicorn

from editx.errors import InvalidRequest
from editx.server.app import create_app
from editx.settings import Settings
from editx.ui import Page

BACKLOG = 2048


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
    config = uvicorn.Config(
        create_app(settings, page),
        log_config=None,
        access_log=False,
        forwarded_allow_ips=settings.trusted_proxies,
        timeout_graceful_shutdown=max(1, round(settings.drain_timeout)),
        server_header=False,
    )
    server = _Announcing(config, _url(host, port), settings, page)
    for stop in (signal.SIGINT, signal.SIGTERM):
        # uvicorn stops gracefully and then raises the signal anew; being asked to stop is no failure.
        signal.signal(stop, lambda *_: None)
    server.run(sockets=[listener])
    if server.failed:
        raise SystemExit(1)


class _Announcing(uvicorn.Server):
    """Says where it listens once requests are accepted, and lets the page go first."""

    def __init__(self, config: uvicorn.Config, url: str, settings: Settings, page: Page) -> None:
        super().__init__(config)
        self._page = page
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
            if not self._settings.api_key and self._settings.host not in ("127.0.0.1", "localhost", "::1"):
                print("  no API key is set: everyone who can reach this address may use it", flush=True)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._page.stop()
        await super().shutdown(sockets)


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
