"""`/v1/audio/edits`: a recording and the steps to apply to it."""

from __future__ import annotations

import base64
import json
from contextlib import AsyncExitStack
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from editx.audio.codec import encode
from editx.errors import InvalidRequest
from editx.recipe import Source, parse_steps
from editx.server import replies
from editx.server.errors import RESPONSES
from editx.server.presence import unless_gone
from editx.server.requests import recipe
from editx.server.schemas import EditsBody, Format, IterationBody, Seed
from editx.server.service import Service, The
from editx.studio import Job, Result

router = APIRouter(tags=["edits"], responses=RESPONSES)


@router.post(
    "/v1/audio/edits",
    response_model=EditsBody,
    responses={
        200: {"description": "The last result, or JSON with every iteration.", "content": replies.AUDIO_CONTENT}
    },
)
async def edits(
    request: Request,
    service: The,
    file: Annotated[UploadFile, File(description="The recording: any audio format, any rate.")],
    steps: Annotated[str, Form(description='A JSON list such as [{"type": "emotion", "info": "happy", "n": 2}].')],
    transcript: Annotated[str, Form(description="What is said in the recording; denoise and vad need none.")] = "",
    variant: Annotated[str | None, Form(description="base, awq, bnb or lite.")] = None,
    seed: Annotated[Seed | None, Form()] = None,
    response_format: Annotated[Format, Form()] = "wav",
    returns: Annotated[Literal["last", "all"], Form(alias="return")] = "last",
) -> Response:
    """Apply `steps` in order and return the last result, or every iteration."""
    service.admit()
    data = await file.read()
    job = await service.runner.chore(
        lambda: _job(data, steps, transcript, variant or None, seed, service, keep_iterations=returns == "all")
    )
    async with AsyncExitStack() as stack:
        run = await stack.enter_async_context(service.runner.run(job))
        result = await unless_gone(request, run.result)
    if returns == "last":
        return await service.runner.chore(lambda: replies.whole(result, response_format))
    return await service.runner.chore(lambda: _all(result, response_format))


def _job(
    data: bytes,
    steps: str,
    transcript: str,
    variant: str | None,
    seed: int | None,
    service: Service,
    *,
    keep_iterations: bool,
) -> Job:
    try:
        items = json.loads(steps)
    except ValueError as error:
        raise InvalidRequest(f"steps is not JSON: {error}", param="steps") from None
    parsed = parse_steps(items)
    clip = service.decoder.decode(data, param="file")
    source = Source(clip, transcript)
    return Job(recipe(source, parsed, "transcript"), variant=variant, seed=seed, keep_iterations=keep_iterations)


def _all(result: Result, format: Format) -> Response:
    body = EditsBody(
        variant=result.variant,
        seed=result.seed,
        timings=replies.rounded(asdict(result.timings)),
        data=[
            IterationBody(
                index=index,
                type=iteration.step.kind,
                info=iteration.step.option or None,
                text=iteration.step.new_text or None,
                transcript=iteration.transcript,
                seconds=round(iteration.clip.seconds, 3),
                format=format,
                audio=base64.b64encode(encode(iteration.clip, format)).decode(),
            )
            for index, iteration in enumerate(result.iterations)
        ],
    )
    return JSONResponse(body.model_dump(), headers=replies.result_headers(result))
