"""`/docs`: Swagger's page for our schema, with nothing in it that comes from another host."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, Response
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse

SCRIPT, STYLE, ICON = "/docs/swagger-ui.js", "/docs/swagger-ui.css", "/page/static/icon.svg"
PATHS = ("/docs", SCRIPT, STYLE, ICON)
"""Open to everybody, as the schema is."""

POLICY = "; ".join((
    "default-src 'none'", "script-src 'self' 'unsafe-inline'", "style-src 'self' 'unsafe-inline'",
    "img-src 'self' data: blob:", "media-src 'self' blob:", "font-src data:", "connect-src 'self'",
    "base-uri 'none'", "form-action 'none'", "frame-ancestors 'self'",
))  # fmt: skip


def documents_router() -> APIRouter:
    """The page, and Swagger's own script and style, which a Python package carries."""
    router = APIRouter(include_in_schema=False)

    @router.get("/docs")
    async def page() -> HTMLResponse:
        """Every operation, and a form to try it."""
        page = get_swagger_ui_html(  # addresses are relative, so that a proxy may serve us under a folder
            openapi_url="openapi.json",
            title="EditX API",
            swagger_js_url=SCRIPT.removeprefix("/"),
            swagger_css_url=STYLE.removeprefix("/"),
            swagger_favicon_url=ICON.removeprefix("/"),
            swagger_ui_parameters={"validatorUrl": None, "tryItOutEnabled": True},
        )
        page.headers["Content-Security-Policy"] = POLICY
        return page

    @router.get(SCRIPT)
    def script() -> Response:
        return _file("swagger-ui-bundle.js", "text/javascript")

    @router.get(STYLE)
    def style() -> Response:
        return _file("swagger-ui.css", "text/css")

    return router


def _file(name: str, kind: str) -> Response:
    data = (files("fastapi_offline") / "static" / name).read_bytes()
    return Response(data, media_type=kind, headers={"Cache-Control": "max-age=86400"})
