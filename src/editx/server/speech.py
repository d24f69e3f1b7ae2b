"""`/v1/audio/speech` and `/v1/audio/speech/upload`."""

from __future__ import annotations

from contextlib import AsyncExitStack
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Depends, File, Form, Request, Response, UploadFile
from pydantic import ValidationError

from editx.cancellation import Cancellation
from editx.errors import InvalidRequest, named
from editx.server import replies
from editx.server.bodies import documented, json_body
from editx.server.errors import RESPONSES, validation_message
from editx.server.presence import unless_gone
from editx.server.requests import Recordings, Uploads, recordings, speech_fields, speech_job
from editx.server.schemas import SpeechBody
from editx.server.service import Service, The

router = APIRouter(tags=["speech"], responses=RESPONSES)
AUDIO_OR_EVENTS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "The audio, as it is made; with stream_format=sse, events that carry it.",
        "content": {**replies.AUDIO_CONTENT, "text/event-stream": {"schema": {"type": "string"}}},
    }
}


@router.post(
    "/v1/audio/speech", response_class=Response, responses=AUDIO_OR_EVENTS, openapi_extra=documented(SpeechBody)
)
async def speech(
    request: Request, body: Annotated[SpeechBody, Depends(json_body(SpeechBody))], service: The
) -> Response:
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
        body = await service.runner.chore(lambda: SpeechBody.model_validate_json(payload))
    except ValidationError as error:
        message, param = validation_message(error, within="payload")
        raise InvalidRequest(message, param=param) from None
    uploads = Uploads(
        prompt=prompt_audio_file.file if prompt_audio_file is not None else None,
        source=input_audio_file.file if input_audio_file is not None else None,
    )
    return await _speak(request, body, uploads, service)


async def _speak(request: Request, body: SpeechBody, uploads: Uploads, service: Service) -> Response:
    service.admit()
    given = recordings(body, uploads)
    with named(speech_fields(body, given)):
        return await _spoken(request, body, given, service)


async def _spoken(request: Request, body: SpeechBody, given: Recordings, service: Service) -> Response:
    if given:
        work = partial(speech_job, body, given, service)
        job = await unless_gone(request, lambda: service.runner.read(work))
    else:
        job = await service.runner.chore(lambda: speech_job(body, given, service, Cancellation()))
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(service.runner.run(job))
        if body.stream_format == "audio" and not body.stream:
            result = await unless_gone(request, run.result)
            return await service.runner.chore(lambda: replies.whole(result, body.response_format))
        started = await unless_gone(request, run.first_audio)
        reply = replies.events if body.stream_format == "sse" else replies.growing
        return reply(run, started, body.response_format, stack.pop_all())
