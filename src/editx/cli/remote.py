"""Orders carried out by a running server, over its HTTP API, so that the model is not loaded twice."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit

import httpx

from editx import errors
from editx.cancellation import Cancellation
from editx.cli.orders import Made, MadeStep, Notify, Order, Stage
from editx.errors import Cancelled, EditXError, EngineFault, InvalidRequest, ModelUnavailable, NotFound
from editx.recipe import Clone, Step, parse_step, step_record

CONNECT_TIMEOUT_S = 10.0
JOBS = 4
"""Enough to keep the slots of any engine busy; what does not fit waits in the server."""
_BY_STATUS: dict[int, type[EditXError]] = {
    404: errors.NotFound, 409: errors.Conflict, 413: errors.TooLarge, 429: errors.QueueFull,
    503: errors.ModelUnavailable, 504: errors.Stalled,
}  # fmt: skip


class Connection:
    """An EditX server at `url`; `key` is sent as a bearer token where there is one.

    Every call raises EditXError: what the server said was wrong, or ModelUnavailable when it cannot be reached.
    """

    def __init__(self, url: str, key: str | None) -> None:
        if not _is_url(url):
            raise InvalidRequest(f"a server is a URL such as http://127.0.0.1:7860, not {url!r}", param="--server")
        self.url = url.rstrip("/")
        # A server may be given several keys in the variable that also names ours; any of them does.
        token = (key or "").replace(",", " ").split()
        if token and not token[0].isascii():
            raise InvalidRequest("a key that is sent to a server has ASCII characters only", param="--api-key")
        self._headers = {"Authorization": f"Bearer {token[0]}"} if token else {}

    def json(self, method: str, path: str, **request: Any) -> Any:
        """Ask, and decode the JSON of the answer."""
        return self.call(lambda client: client.request(method, path, **request), Cancellation()).json()

    def call(
        self, ask: Callable[[httpx.AsyncClient], Awaitable[httpx.Response]], cancellation: Cancellation
    ) -> httpx.Response:
        """Ask, wait as long as it takes, and return a response that is a success. Cancelling hangs up."""

        async def work() -> httpx.Response:
            loop, task = asyncio.get_running_loop(), asyncio.current_task()
            assert task is not None

            def stop() -> None:
                with contextlib.suppress(RuntimeError):  # the loop was closed meanwhile: there is nothing to stop
                    loop.call_soon_threadsafe(task.cancel)

            forget = cancellation.on_cancel(stop)
            try:
                timeout = httpx.Timeout(None, connect=CONNECT_TIMEOUT_S)
                async with httpx.AsyncClient(base_url=self.url, headers=self._headers, timeout=timeout) as client:
                    return await ask(client)
            finally:
                forget()

        try:
            response = asyncio.run(work())
        except asyncio.CancelledError:
            raise Cancelled("interrupted") from None
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ModelUnavailable(
                f"no EditX answers at {self.url}: {error or type(error).__name__}; start one with `editx serve`",
                param="--server",
            ) from None
        if response.is_error:
            raise _error(response)
        return response


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port out of range, or half an address
        return False


class RemoteMaker:
    """A `Maker` that asks a server."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def jobs(self, variant: str | None) -> int:
        return JOBS

    def transcript(self, voice: str) -> str:
        found: str = self._connection.json("GET", f"/v1/voices/{quote(voice, safe='')}")["transcript"]
        return found

    def make(self, order: Order, notify: Notify, cancellation: Cancellation) -> Made:
        notify(Stage(f"working at {self._connection.url}"))
        if isinstance(order.steps[0], Clone):
            return _made(self._connection.call(lambda client: _speech(client, order), cancellation))
        response = self._connection.call(lambda client: _edits(client, order), cancellation)
        return _made_all(response) if order.keep_iterations else _made(response)


async def _speech(client: httpx.AsyncClient, order: Order) -> httpx.Response:
    clone, *more = order.steps
    body: dict[str, Any] = {
        "input": clone.new_text,
        "response_format": order.format,
        "speed": order.speed,
        "stream": False,
        "step_audio": {"edits": [step_record(step) for step in more]},
    }
    if order.seed is not None:
        body["seed"] = order.seed
    if order.variant is not None:
        body["step_audio"]["model_variant"] = order.variant
    if order.voice is not None:
        return await client.post("/v1/audio/speech", json=body | {"voice": order.voice})
    body["step_audio"]["prompt_text"] = order.transcript
    with _opened(order) as recording:
        return await client.post(
            "/v1/audio/speech/upload",
            data={"payload": json.dumps(body)},
            files={"prompt_audio_file": ("recording", recording)},
        )


async def _edits(client: httpx.AsyncClient, order: Order) -> httpx.Response:
    fields = {
        "steps": json.dumps([step_record(step) for step in order.steps]),
        "transcript": order.transcript,
        "response_format": order.format,
        "return": "all" if order.keep_iterations else "last",
    }
    if order.seed is not None:
        fields["seed"] = str(order.seed)
    if order.variant is not None:
        fields["variant"] = order.variant
    with _opened(order) as recording:
        return await client.post("/v1/audio/edits", data=fields, files={"file": ("recording", recording)})


def _opened(order: Order) -> BinaryIO:
    if isinstance(order.recording, bytes):
        return io.BytesIO(order.recording)
    assert order.recording is not None, "what is no voice is a recording"
    return open_recording(order.recording)


def open_recording(path: Path) -> BinaryIO:
    """A file opened for upload. Raises NotFound or InvalidRequest as the decoder would."""
    try:
        return path.open("rb")
    except FileNotFoundError:
        raise NotFound(f"there is no file {path}", param="file") from None
    except OSError as error:
        raise InvalidRequest(f"{path} cannot be read: {error.strerror}", param="file") from None


def _made(response: httpx.Response) -> Made:
    header = response.headers
    return Made(
        data=response.content,
        seconds=float(header["X-EditX-Audio-Seconds"]),
        variant=header["X-EditX-Variant"],
        seed=int(header["X-EditX-Seed"]),
        timings={
            name: float(duration) / 1e3
            for name, duration in re.findall(r"([\w-]+);dur=([0-9.]+)", header.get("Server-Timing", ""))
        },
        finish_reason=header.get("X-EditX-Finish-Reason", "stop"),
    )


def _made_all(response: httpx.Response) -> Made:
    body = response.json()
    steps = tuple(
        MadeStep(_step(entry), base64.b64decode(entry["audio"]), entry["seconds"], entry["transcript"])
        for entry in body["data"]
    )
    reason = response.headers.get("X-EditX-Finish-Reason", "stop")
    return Made(steps[-1].data, steps[-1].seconds, body["variant"], body["seed"], body["timings"], steps, reason)


def _step(entry: dict[str, Any]) -> Step:
    return parse_step({name: entry[name] for name in ("type", "info", "text")})[0]


def _error(response: httpx.Response) -> EditXError:
    """The error a server answered with, as if it had happened here."""
    try:
        said = response.json()["error"]
        message, code, param = str(said["message"]), said.get("code"), said.get("param")
    except (ValueError, LookupError, TypeError):
        message, code, param = f"{response.url} answered {response.status_code}, which is not EditX's", None, None
    if response.status_code in (401, 403):
        return InvalidRequest(f"{message} (--api-key or EDITX_API_KEY)", param="--api-key")
    fallback = _BY_STATUS.get(response.status_code, EngineFault if response.status_code >= 500 else InvalidRequest)
    kind = errors.BY_CODE.get(code or "", fallback)
    after = response.headers.get("Retry-After", "")
    return kind(message, param=param, retry_after_s=float(after) if after.isdigit() else None)
