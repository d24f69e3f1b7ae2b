"""What the page fetches besides Gradio's own: scripts and styles, sounds, archives."""

from __future__ import annotations

import mimetypes
import re
from importlib.resources import files
from io import SEEK_END
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi.responses import FileResponse, StreamingResponse
from starlette.background import BackgroundTask

from editx.audio.codec import MIME_TYPES
from editx.errors import NotFound
from editx.ui.archive import archive
from editx.ui.desks import Desks
from editx.ui.sounds import LIVE_FORMAT, Sounds

STATIC = "page/static"
ZIP_CHUNK_BYTES = 1 << 18


def page_router(sounds: Sounds, desks: Desks) -> APIRouter:
    """The routes of one page. Sounds and desks are behind ids that nobody can guess."""
    router = APIRouter(prefix="/page", include_in_schema=False)

    @router.get("/static/{name}")
    async def static(name: str) -> Response:
        """A script or a style sheet of ours."""
        if (
            not re.fullmatch(r"[a-z]+\.(js|css|svg)", name)
            or not (file := files("editx.ui") / "static" / name).is_file()
        ):
            raise NotFound(f"the page has no file {name!r}", param="name")
        kind = mimetypes.guess_type(name)[0]
        return Response(file.read_bytes(), media_type=kind, headers={"Cache-Control": "no-cache"})

    @router.get("/sounds/{id}.wav")
    async def sound(id: str, download: Annotated[str, Query(max_length=100)] = "") -> Response:
        """A finished sound; `download` is the name under which the browser keeps it."""
        return FileResponse(sounds.get(id).path, media_type=MIME_TYPES["wav"], filename=download or None)

    @router.get("/desks/{id}.zip")
    def cards(id: str) -> Response:
        """Every card of a desk, and the recipe."""
        desk = desks.get(id)
        if not desk.cards:
            raise NotFound("the cards of this browser tab are no longer there; the server keeps them for a while only")
        file = archive(desk)
        size = str(file.seek(0, SEEK_END))
        file.seek(0)
        headers = {"Content-Disposition": 'attachment; filename="editx.zip"', "Content-Length": size}
        return StreamingResponse(
            iter(lambda: file.read(ZIP_CHUNK_BYTES), b""),
            media_type="application/zip",
            headers=headers,
            background=BackgroundTask(file.close),
        )

    @router.get(f"/live/{{id}}.{LIVE_FORMAT}")
    async def live(id: str) -> Response:
        """A sound while it is made."""
        return StreamingResponse(sounds.live(id).read(), media_type=MIME_TYPES[LIVE_FORMAT])

    return router
