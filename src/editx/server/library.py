"""The voice library and the tags, over HTTP."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Query, Request, Response, UploadFile
from pydantic import BaseModel

from editx.audio.codec import MIME_TYPES, encode
from editx.cancellation import Cancellation
from editx.errors import named
from editx.recipe import PARALINGUISTIC_TAGS, STEP_TYPES
from editx.server.bodies import documented, json_body
from editx.server.errors import RESPONSES
from editx.server.presence import unless_gone
from editx.server.ranges import ranged
from editx.server.schemas import RenameBody, VoiceList, VoiceObject
from editx.server.service import The
from editx.text import LANGUAGE_TAGS
from editx.voices import Voice

router = APIRouter(tags=["voices"], responses=RESPONSES)

AUDIO_FILE: dict[str, Any] = {"schema": {"type": "string", "format": "binary"}}


def _voice(voice: Voice) -> VoiceObject:
    return VoiceObject(
        id=voice.name,
        name=voice.name,
        title=voice.title,
        locale=voice.locale,
        transcript=voice.transcript,
        seconds=round(voice.seconds, 3),
        builtin=voice.builtin,
        created=voice.created,
        warnings=list(voice.warnings),
    )


class Deleted(BaseModel):
    """A voice that is gone."""

    id: str
    deleted: bool = True


@router.get("/v1/voices")
async def voices(service: The) -> VoiceList:
    """Every voice: built in, added, and OpenAI's names as aliases."""
    return VoiceList(data=[_voice(voice) for voice in await service.runner.chore(service.voices.list)])


@router.post("/v1/voices", status_code=201)
async def add_voice(
    request: Request,
    service: The,
    file: Annotated[UploadFile, File(description="3 to 30 s of clean speech.")],
    name: Annotated[str, Form(description="Letters, digits, space, '-', '_' and '.', at most 64.")],
    transcript: Annotated[str, Form(description="The words spoken in the file.")],
    locale: Annotated[str | None, Form(description="Such as en-US or zh-CN.")] = None,
    replace: Annotated[bool, Form(description="Whether a voice of that name is replaced.")] = False,
) -> VoiceObject:
    """Add a voice under a name."""

    def add(cancellation: Cancellation) -> Voice:
        clip = service.decoder_until(cancellation).decode(file.file.read(), param="file")
        return service.voices.add(name, clip, transcript, locale, replace=replace)

    with named({"audio": "file"}):
        return _voice(await unless_gone(request, lambda: service.runner.read(add)))


@router.get("/v1/voices/{name}")
async def voice(name: str, service: The) -> VoiceObject:
    """One voice."""
    return _voice(await service.runner.chore(lambda: service.voices.get(name)))


@router.get(
    "/v1/voices/{name}/audio", response_class=Response, responses={200: {"content": {MIME_TYPES["wav"]: AUDIO_FILE}}}
)
async def voice_audio(name: str, request: Request, service: The) -> Response:
    """The recording of a voice, as wav; a part of it where the request has a `Range`."""
    data = await service.runner.chore(lambda: encode(service.voices.get(name).clip(), "wav"))
    return ranged(request, data, MIME_TYPES["wav"])


@router.patch("/v1/voices/{name}", openapi_extra=documented(RenameBody))
async def rename_voice(
    name: str, body: Annotated[RenameBody, Depends(json_body(RenameBody))], service: The
) -> VoiceObject:
    """Call a voice that was added by another name."""
    return _voice(await service.runner.chore(lambda: service.voices.rename(name, body.name)))


@router.delete("/v1/voices/{name}")
async def delete_voice(name: str, service: The) -> Deleted:
    """Delete a voice that was added."""
    await service.runner.chore(lambda: service.voices.delete(name))
    return Deleted(id=name)


@router.get("/v1/audio/voices")
async def audio_voices(service: The, legacy: Annotated[bool, Query()] = False) -> dict[str, list[Any]]:
    """The voices as Open WebUI asks for them, or as plain names (`?legacy=true`) for Kokoro's clients."""
    found = await service.runner.chore(service.voices.list)
    if legacy:
        return {"voices": [voice.name for voice in found]}
    return {"voices": [{"id": voice.name, "name": voice.title or voice.name} for voice in found]}


@router.get("/v1/tags", tags=["edits"])
async def tags() -> dict[str, Any]:
    """Edit types with their options, paralinguistic tags, language tags."""
    return {
        "edit_types": {
            kind: {
                "options": list(step.options),
                "takes_text": step.takes_text,
                "needs_transcript": step.needs_transcript,
            }
            for kind, step in STEP_TYPES.items()
        },
        "paralinguistic_tags": list(PARALINGUISTIC_TAGS),
        "language_tags": list(LANGUAGE_TAGS),
    }
