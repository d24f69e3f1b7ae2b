"""How a browser shows the API key: a form, and a cookie in return."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Sequence
from html import escape
from urllib.parse import parse_qs

from fastapi import APIRouter, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from editx.ui.words import COOKIE as LANGUAGE_COOKIE
from editx.ui.words import LANGUAGES, LOCALES, NAMES, choose, words

COOKIE = "editx_key"
PATH, LEAVE_PATH = "/login", "/logout"
YEAR_S = 365 * 24 * 3600
MAX_FORM_BYTES, MAX_FIELDS = 8_192, 16


def login_router(keys: Sequence[bytes]) -> APIRouter:
    """The routes that take a key, and forget it. `keys`: those that are right, in UTF-8."""
    router = APIRouter(include_in_schema=False)

    @router.post(PATH)
    async def login(request: Request) -> Response:
        """Trade a key for a cookie, and go to the page."""
        given = (await _fields(request)).get("key", [""])[0].strip().encode()
        if not is_key(keys, given):
            return form(request, wrong=True)
        reply = _to_the_page(request)
        secure = request.url.scheme == "https"
        reply.set_cookie(COOKIE, _token(given), max_age=YEAR_S, httponly=True, samesite="strict", secure=secure)
        return reply

    @router.post(LEAVE_PATH)
    async def logout(request: Request) -> Response:
        """Take the cookie back, and go to the form."""
        reply = _to_the_page(request)
        reply.delete_cookie(COOKIE, httponly=True, samesite="strict")
        return reply

    return router


def is_key(keys: Sequence[bytes], given: bytes) -> bool:
    """Whether `given` is one of `keys`; takes the same time whichever it is."""
    return sum(hmac.compare_digest(given, key) for key in keys) > 0


def has_cookie(keys: Sequence[bytes], request: Request) -> bool:
    """Whether the browser that sends `request` gave one of `keys` before."""
    given = request.cookies.get(COOKIE)
    return given is not None and is_key([_token(key).encode() for key in keys], given.encode())


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
    body = f"""<!doctype html><html lang="{LOCALES[language]}"><head><meta charset="utf-8"><title>EditX</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:20vh auto;padding:0 1rem}}
label,input,button{{display:block;width:100%;box-sizing:border-box;font:inherit;margin:.25rem 0}}
input,button{{padding:.6rem;margin-bottom:1rem}}
a{{color:inherit;margin-right:1rem}}button{{background:#0f766e;color:#fff;border:0;border-radius:.4rem;cursor:pointer}}</style></head><body><main><h1>EditX</h1><p>{text["title"]}</p>{complaint}
<form method="post" action="login{_language(request)}"><label for="key">{text["key"]}</label>
<input id="key" name="key" type="password" autocomplete="current-password" required autofocus>
<button>{text["enter"]}</button></form>{_languages(language)}</main></body></html>"""
    policy = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    return HTMLResponse(body, 401, headers={"Content-Security-Policy": policy, "Cache-Control": "no-store"})


async def _fields(request: Request) -> dict[str, list[str]]:
    """The form that was sent; empty where it is too long to be one: this is open to everybody, and a key is short."""
    data = bytearray()
    async for piece in request.stream():
        data += piece[: MAX_FORM_BYTES + 1 - len(data)]
    if len(data) > MAX_FORM_BYTES:
        return {}
    try:
        return parse_qs(data.decode("latin-1"), max_num_fields=MAX_FIELDS)
    except ValueError:
        return {}


def _languages(now: str) -> str:
    """The form in each language, as links."""
    current = {now: ' aria-current="true"'}
    links = (
        f'<a href="./?lang={each}" hreflang="{each}" lang="{LOCALES[each]}"{current.get(each, "")}>{NAMES[each]}</a>'
        for each in LANGUAGES
    )
    return f'<nav aria-label="{escape(words(now)["page.language"])}">{" ".join(links)}</nav>'


def _to_the_page(request: Request) -> RedirectResponse:
    return RedirectResponse(f"./{_language(request)}", 303)  # relative: a proxy may serve us under a folder


def _language(request: Request) -> str:
    """The part of an address that keeps the language which the visitor asked for."""
    asked = request.query_params.get("lang")
    return f"?lang={asked}" if asked in LANGUAGES else ""


def _token(key: bytes) -> str:
    """What the cookie holds: made from the key, and not the key."""
    return hmac.new(key, b"editx page cookie", hashlib.sha256).hexdigest()
