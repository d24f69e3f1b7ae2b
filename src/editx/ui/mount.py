"""The page as an ASGI application that is built when somebody first looks at it.

Gradio takes seconds to import and a hundred megabytes; a server that only answers the API pays neither.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import re
from collections.abc import AsyncIterator

from fastapi import FastAPI
from starlette.datastructures import Headers, MutableHeaders, QueryParams
from starlette.requests import HTTPConnection
from starlette.types import Message, Receive, Scope, Send

from editx.ui.parts import Parts
from editx.ui.uploads import UPLOADS, bound
from editx.ui.words import COOKIE, LANGUAGES, LOCALES, Words, choose, words

PATHS = ("/", "/config", "/theme.css", "/favicon.ico", "/robots.txt", "/manifest.json")
OWN = "/page/"
"""Before a language, the folder of that language's page: what a visitor's page asks for, it asks of itself, whatever
language another tab of the browser was switched to meanwhile."""

PREFIXES = ("/gradio_api", "/assets", "/static", "/svelte", *(OWN + language for language in LANGUAGES))
"""What the page answers. Everything else belongs to the API, its 404 included."""

POLICY = "; ".join((
    "default-src 'self'", "script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "media-src 'self' data: blob:", "font-src 'self' data:", "worker-src 'self' blob:",
    "connect-src 'self' data: blob:", "object-src 'none'", "base-uri 'self'", "form-action 'self'",
    "frame-ancestors 'self'",
))  # fmt: skip
"""No request of the page leaves the host: the browser itself sees to it."""


class Page:
    """The page in every language we have, each built when first asked for. An ASGI application."""

    def __init__(self) -> None:
        self._parts: Parts | None = None
        self._apps: dict[str, FastAPI] = {}
        self._building = asyncio.Lock()
        self._stopping = asyncio.Event()
        self._kept: list[asyncio.Task[None]] = []

    @contextlib.asynccontextmanager
    async def serving(self, parts: Parts) -> AsyncIterator[None]:
        """While this is open, visitors are served with `parts`."""
        self._parts = parts
        try:
            yield
        finally:
            self._stopping.set()
            await asyncio.gather(*self._kept)

    def stop(self) -> None:
        """End the standing connections of visitors, so that the server can wait for those with work under way only."""
        self._stopping.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if own := re.match(f"{OWN}({'|'.join(LANGUAGES)})(?=/)", scope["path"]):
            inner = {"path": scope["path"][own.end() :], "raw_path": scope["raw_path"][own.end() :]}
            await (await self._app(own[1]))({**scope, **inner}, receive, send)
            if own.string.endswith("/upload"):
                assert self._parts is not None
                await asyncio.to_thread(bound, self._parts.sounds.directory / UPLOADS)
            return
        headers = Headers(scope=scope)
        chosen = HTTPConnection(scope).cookies.get(COOKIE)
        asked = QueryParams(scope["query_string"]).get("lang")
        language = choose(asked, chosen, headers.get("accept-language", ""))
        app = await self._app(language)
        if scope["path"] != "/":
            await app(scope, receive, send)
            return
        plain = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
        document = _Document(send, words(language), remember=asked in LANGUAGES)
        await app({**scope, "headers": plain}, receive, document)

    async def _app(self, language: str) -> FastAPI:
        async with self._building:
            if language not in self._apps:
                assert self._parts is not None
                parts = self._parts
                module = await asyncio.to_thread(importlib.import_module, "editx.ui.page")
                app: FastAPI = await asyncio.to_thread(lambda: module.build(parts, words(language), self._stopping))
                started = asyncio.Event()
                self._kept.append(asyncio.create_task(self._keep(app, started)))
                await started.wait()
                self._apps[language] = app
        return self._apps[language]

    async def _keep(self, app: FastAPI, started: asyncio.Event) -> None:
        async with app.router.lifespan_context(app):
            started.set()
            await self._stopping.wait()


class _Document:
    """Passes the page's HTML on, in our name and language, with nothing in it that points elsewhere."""

    def __init__(self, send: Send, words: Words, *, remember: bool) -> None:
        self._send = send
        self._words = words
        self._remember = remember
        self._start: Message = {}
        self._body = b""

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        headers = MutableHeaders(scope=self._start)
        if headers.get("content-type", "").startswith("text/html"):
            self._body = self._ours(self._body.decode()).encode()
            headers["content-length"] = str(len(self._body))
            headers["content-security-policy"] = POLICY
            headers["referrer-policy"] = "same-origin"
            headers["cache-control"] = "no-store"
            if self._remember:
                cookie = f"{COOKIE}={self._words.language}; Path=/; Max-Age=31536000; SameSite=Lax"
                headers.append("set-cookie", cookie)
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": self._body})

    def _ours(self, html: str) -> str:
        html = re.sub(r"<meta\s+(?:property|name)=\"(?:og|twitter):[^>]*>", "", html)
        html = re.sub(r"<(?:link|script)\b[^>]*\b(?:href|src)=\"https?://[^>]*>(?:</script>)?", "", html)
        locale = LOCALES[self._words.language]
        html = html.replace('lang="en"', f'lang="{locale}"', 1)
        language = f'"{locale}"'
        head = (
            # Gradio's own words follow the browser's language; the visitor's choice is what counts here.
            f"<script>Object.defineProperty(navigator, 'language', {{get: () => {language}}});"
            f"Object.defineProperty(navigator, 'languages', {{get: () => [{language}]}});"
            f"window.EDITX_WORDS = {self._words.as_json()};</script>"
            '<link rel="stylesheet" href="page/static/editx.css"><link rel="icon" href="page/static/icon.svg">'
            + "".join(f'<script src="page/static/{name}.js"></script>' for name in SCRIPTS)
        )
        own = f"{OWN}{self._words.language}"[1:]  # relative: a proxy may serve us under a folder
        foot = f"<script>gradio_config.root = new URL('{own}', document.baseURI).href;</script>"
        return html.replace("<head>", f"<head>{head}", 1).replace("</head>", f"{foot}</head>", 1)


SCRIPTS = (
    "editx", "keep", "access", "player", "chart", "models", "voices", "api", "analysis", "compare", "cards", "tags",
)  # fmt: skip
"""Ours, in the order in which they are loaded."""
