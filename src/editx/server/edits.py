"""`/v1/audio/edits`: a recording and the steps to apply to it."""

from __future__ import annotations

import base64
import json
from dataclasses import asdict
from typing import Annotated, Literal

from fastapi import APIRouter, File, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse

from editx.audio.codec import encode
from editx.cancellation import Cancellation
from editx.errors import InvalidRequest, named
from editx.recipe import AnyStep, Source, parse_steps
from editx.server import replies
from editx.server.errors import RESPONSES
from editx.server.presence import unless_gone
from editx.server.requests import recipe
from editx.server.schemas import EditsBody, Format, IterationBody, Seed
from editx.server.service import The
from editx.studio import Job, Result

router = APIRouter(tags=["edits"], responses=RESPONSES)

FIELDS = {"audio": "file", "text": "steps"}
"""What the parameters that engines complain of are called here."""


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

    def read(cancellation: Cancellation) -> Job:
        parsed = _steps(steps)
        clip = service.decoder_until(cancellation).decode(file.file.read(), param="file")
        asked = recipe(Source(clip, transcript), parsed, "transcript")
        return Job(asked, variant=variant or None, seed=seed, keep_iterations=returns == "all", stream=False)

    with named(FIELDS):
        job = await unless_gone(request, lambda: service.runner.read(read))
        async with service.runner.run(job) as run:
            result = await unless_gone(request, run.result)
    if returns == "last":
        return await service.runner.chore(lambda: replies.whole(result, response_format))
    return await service.runner.chore(lambda: _all(result, response_format))


def _steps(text: str) -> tuple[AnyStep, ...]:
    try:
        return parse_steps(json.loads(text))
    except ValueError as error:
        raise InvalidRequest(f"steps is not JSON: {error}", param="steps") from None
    except RecursionError:
        raise InvalidRequest("steps is nested too deeply; it is a list of steps", param="steps") from None


def _all(result: Result, format: Format) -> Response:
    body = EditsBody(
        variant=result.variant,
        seed=result.seed,
        finish_reason=result.finish_reason,
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
