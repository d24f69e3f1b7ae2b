"""How results leave: headers, whole files, growing files and server-sent events."""

from __future__ import annotations

import base64
import json
import logging
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing
from dataclasses import asdict
from typing import Any

from fastapi import Request, Response
from starlette.types import Receive, Scope, Send

from editx.audio.codec import MIME_TYPES, StreamEncoder, encode
from editx.errors import EditXError
from editx.runner import Run
from editx.server.errors import error_body, status_of
from editx.server.presence import unless_gone
from editx.studio import Result, Started

log = logging.getLogger("editx.server")

HEADERS = ("X-EditX-Variant", "X-EditX-Seed", "X-EditX-Audio-Seconds", "X-EditX-Finish-Reason", "Server-Timing")
"""What responses with audio carry besides the request's id."""

AUDIO_CONTENT: dict[str, Any] = {
    kind: {"schema": {"type": "string", "format": "binary"}} for kind in dict.fromkeys(MIME_TYPES.values())
}
"""For the schema: audio of any format we write."""


def started_headers(started: Started) -> dict[str, str]:
    """What is known when the first audio leaves."""
    timing = f"queue;dur={started.queue_seconds * 1e3:.1f}, load;dur={started.load_seconds * 1e3:.1f}"
    return {"X-EditX-Variant": started.variant, "X-EditX-Seed": str(started.seed), "Server-Timing": timing}


def result_headers(result: Result) -> dict[str, str]:
    """What is known at the end."""
    timing = ", ".join(f"{name};dur={seconds * 1e3:.1f}" for name, seconds in asdict(result.timings).items())
    return {
        "X-EditX-Variant": result.variant,
        "X-EditX-Seed": str(result.seed),
        "X-EditX-Audio-Seconds": f"{result.clip.seconds:.3f}",
        "X-EditX-Finish-Reason": result.finish_reason,
        "Server-Timing": timing,
    }


def whole(result: Result, format: str) -> Response:
    """The finished file."""
    return Response(encode(result.clip, format), media_type=MIME_TYPES[format], headers=result_headers(result))


class Growing(Response):
    """A body that is sent while it is made. Owns `stack`, which ends the run, and closes it when the client leaves.

    An error after the first bytes breaks the connection off, so that no client takes half a file for a whole one.
    """

    def __init__(
        self, pieces: AsyncGenerator[bytes], stack: AsyncExitStack, media_type: str, headers: dict[str, str]
    ) -> None:
        super().__init__(media_type=media_type, headers=headers)
        del self.headers["content-length"]
        self._pieces = pieces
        self._stack = stack

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stream() -> None:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            async with aclosing(self._pieces) as pieces:
                async for piece in pieces:
                    await send({"type": "http.response.body", "body": piece, "more_body": True})
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        async with self._stack:
            try:
                await unless_gone(Request(scope, receive), stream)
            except EditXError as error:
                # Returning without a last piece makes the server close the connection in the middle of the body.
                scope["state"]["broken_off"] = status_of(error)
                log.warning("broke off %s: %s", scope["path"], error)


def growing(run: Run, started: Started, format: str, stack: AsyncExitStack) -> Response:
    """The file as it is made."""
    return Growing(_encoded(run, format), stack, MIME_TYPES[format], started_headers(started))


def events(run: Run, started: Started, format: str, stack: AsyncExitStack) -> Response:
    """OpenAI's server-sent events: `speech.audio.delta` with base64 audio, then `speech.audio.done`."""
    headers = started_headers(started) | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
    return Growing(_events(run, format), stack, "text/event-stream", headers)


def rounded(seconds: dict[str, float]) -> dict[str, float]:
    """Seconds to the millisecond."""
    return {name: round(value, 3) for name, value in seconds.items()}


async def _encoded(run: Run, format: str) -> AsyncGenerator[bytes]:
    encoder: StreamEncoder | None = None
    try:
        async for audio in run.audio():
            encoder = encoder or StreamEncoder(format, audio.clip.rate)
            if data := encoder.write(audio.clip):
                yield data
        if encoder is not None and (data := encoder.finish()):
            yield data
    finally:
        if encoder is not None:
            encoder.close()


async def _events(run: Run, format: str) -> AsyncGenerator[bytes]:
    try:
        async with aclosing(_encoded(run, format)) as pieces:
            async for data in pieces:
                yield _event({"type": "speech.audio.delta", "audio": base64.b64encode(data).decode()})
        result = await run.result()
    except EditXError as error:
        status = status_of(error)
        yield _event({"type": "error", **error_body(status, error.message, code=error.code, param=error.param)})
        return
    detail = {
        "variant": result.variant,
        "seed": result.seed,
        "audio_seconds": round(result.clip.seconds, 3),
        "finish_reason": result.finish_reason,
        "timings": rounded(asdict(result.timings)),
    }
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield _event({"type": "speech.audio.done", "usage": usage, "editx": detail})


def _event(data: dict[str, object]) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()
