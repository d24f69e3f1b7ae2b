"""How a browser shows the API key: a form, and a cookie in return."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from html import escape
from http.cookies import SimpleCookie
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from editx.ui.words import COOKIE as LANGUAGE_COOKIE
from editx.ui.words import choose, words

COOKIE = "editx_key"
PATH = "/login"
YEAR_S = 365 * 24 * 3600


def login_router(keys: Sequence[bytes]) -> APIRouter:
    """The route that takes a key. `keys`: those that are right."""
    router = APIRouter(include_in_schema=False)

    @router.post(PATH)
    async def login(request: Request) -> Response:
        """Trade a key for a cookie, and go to the page."""
        given = parse_qs((await request.body()).decode("latin-1")).get("key", [""])[0].strip()
        if not is_key(keys, given.encode("latin-1")):
            return form(request, wrong=True)
        reply = RedirectResponse("/", 303)
        secure = request.url.scheme == "https"
        value = _token(given.encode("latin-1"))
        reply.set_cookie(COOKIE, value, max_age=YEAR_S, httponly=True, samesite="strict", secure=secure)
        return reply

    return router


def is_key(keys: Sequence[bytes], given: bytes) -> bool:
    """Whether `given` is one of `keys`; takes the same time whichever it is."""
    return sum(hmac.compare_digest(given, key) for key in keys) > 0


def has_cookie(keys: Sequence[bytes], cookie_header: str) -> bool:
    """Whether a browser that sends these cookies gave one of `keys` before."""
    morsel = SimpleCookie(cookie_header).get(COOKIE)
    return morsel is not None and is_key([_token(key).encode() for key in keys], morsel.value.encode("latin-1"))


def form(request: Request, *, wrong: bool = False) -> HTMLResponse:
    """The page that asks for the key, in the visitor's language."""
    language = choose(
        request.query_params.get("lang"),
        request.cookies.get(LANGUAGE_COOKIE),
        request.headers.get("accept-language", ""),
    )
    said = words(language).of("login")
    text = {name: escape(value) for name, value in said.items()}
    complaint = f'<p role="alert" id="wrong">{text["wrong"]}</p>' if wrong else ""
    body = f"""<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>EditX</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:20vh auto;padding:0 1rem}}
label,input,button{{display:block;width:100%;box-sizing:border-box;font:inherit;margin:.25rem 0}}
input,button{{padding:.6rem;margin-bottom:1rem}}</style></head><body><main><h1>EditX</h1><p>{text["title"]}</p>{complaint}
<form method="post" action="login"><label for="key">{text["key"]}</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>{text["enter"]}</button></form></main></body></html>"""
    policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    return HTMLResponse(body, 401, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})


def _token(key: bytes) -> str:
    """What the cookie holds: made from the key, and not the key."""
    return hmac.new(key, b"editx page cookie", hashlib.sha256).hexdigest()
