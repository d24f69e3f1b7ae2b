"""`/v1/audio/speech` and `/v1/audio/speech/upload`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Annotated, Any

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from pydantic import ValidationError

from editx.errors import InvalidRequest
from editx.server import replies
from editx.server.errors import RESPONSES
from editx.server.presence import unless_gone
from editx.server.requests import Uploads, speech_job
from editx.server.schemas import SpeechBody
from editx.server.service import Service, The

router = APIRouter(tags=["speech"], responses=RESPONSES)
AUDIO_OR_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The audio, as it is made; with stream_format=sse, events that carry it.",
        "content": {**replies.AUDIO_CONTENT, "text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post("/v1/audio/speech", response_class=Response, responses=AUDIO_OR_EVENTS)
async def speech(request: Request, body: SpeechBody, service: The) -> Response:
    """Speak `input`, in a voice of the library or of a recording; or edit a recording (`step_audio`)."""
    return await _speak(request, body, Uploads(), service)


@router.post("/v1/audio/speech/upload", response_class=Response, responses=AUDIO_OR_EVENTS)
async def speech_upload(
    request: Request,
    service: The,
    payload: Annotated[str, Form(description="The JSON of a speech request.")],
    prompt_audio_file: Annotated[UploadFile | None, File(description="The voice to clone.")] = None,
    input_audio_file: Annotated[UploadFile | None, File(description="The recording to edit.")] = None,
) -> Response:
    """The same as multipart, with recordings as files instead of base64."""
    try:
        body = SpeechBody.model_validate_json(payload)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(["payload", *map(str, first["loc"])])
        raise InvalidRequest(f"{where}: {first['msg']}", param=where) from None
    uploads = Uploads(
        prompt=await prompt_audio_file.read() if prompt_audio_file is not None else None,
        source=await input_audio_file.read() if input_audio_file is not None else None,
    )
    return await _speak(request, body, uploads, service)


async def _speak(request: Request, body: SpeechBody, uploads: Uploads, service: Service) -> Response:
    service.admit()
    job = await service.runner.chore(lambda: speech_job(body, uploads, service))
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(service.runner.run(job))
        if body.stream_format == "audio" and not body.stream:
            result = await unless_gone(request, run.result)
            return await service.runner.chore(lambda: replies.whole(result, body.response_format))
        started = await unless_gone(request, run.first_audio)
        reply = replies.events if body.stream_format == "sse" else replies.growing
        return reply(run, started, body.response_format, stack.pop_all())
