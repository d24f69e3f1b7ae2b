"""The `openai` package for Python, as a user would write it."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import FORMATS, Decoder, encode
from tests.running import RunningServer

TEXT = "The quick brown fox jumps over the lazy dog."


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.parametrize("response_format", FORMATS)
def test_every_format(client: openai.OpenAI, response_format: str) -> None:
    reply = client.audio.speech.create(
        model="tts-1",
        voice="alloy",
        input=TEXT,
        response_format=response_format,  # type: ignore[arg-type]
    )
    data = reply.read()
    seconds = len(data) / 48_000 if response_format == "pcm" else Decoder().decode(data).seconds
    assert 1.5 < seconds < 6


def test_streaming_to_a_file(client: openai.OpenAI, tmp_path: Path) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="nova", input=TEXT, instructions="Speak in a sad tone."
    ) as reply:
        assert reply.headers["X-EditX-Variant"] == "lite"
        reply.stream_to_file(tmp_path / "speech.mp3")
    assert Decoder().decode_path(tmp_path / "speech.mp3").seconds > 1.5


def test_pieces_arrive_while_the_rest_is_made(client: openai.OpenAI, server: RunningServer) -> None:
    with client.audio.speech.with_streaming_response.create(
        model="tts-1", voice="echo", input=f"{TEXT} " * 30, response_format="pcm"
    ) as reply:
        pieces = reply.iter_bytes(4096)
        assert len(next(pieces)) == 4096
        assert server.status()["leases"] == 1
        assert sum(map(len, pieces)) > 30 * 48_000


def test_the_async_client_in_parallel(server: RunningServer) -> None:
    async def speak() -> list[bytes]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none") as client:
            requests = [
                client.audio.speech.create(
                    model="tts-1", voice="fable", input=TEXT, response_format="pcm", extra_body={"seed": 1}
                )
                for _ in range(3)
            ]
            return [reply.content for reply in await asyncio.gather(*requests)]

    with ThreadPoolExecutor(1) as apart:  # the browser of other tests may have a loop in this thread
        one, two, three = apart.submit(asyncio.run, speak()).result()
    assert one == two == three


def test_extensions_travel_in_the_extra_body(client: openai.OpenAI, speech: tuple[Clip, str]) -> None:
    reply = client.audio.speech.create(
        model="step-audio-editx",
        voice="alloy",
        input=TEXT,
        response_format="wav",
        extra_body={
            "ref_audio": base64.b64encode(encode(speech[0], "flac")).decode(),
            "ref_text": speech[1],
            "seed": 3,
            "stream": False,
            "step_audio": {"edits": [{"type": "style", "info": "whisper"}]},
        },
    )
    assert reply.response.headers["X-EditX-Seed"] == "3"
    assert Decoder().decode(reply.content).seconds > 1.5


def test_models(client: openai.OpenAI) -> None:
    assert "tts-1" in {model.id for model in client.models.list()}
    assert client.models.retrieve("step-audio-editx").owned_by == "editx"


def test_errors_become_the_clients_own_exceptions(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="nobody") as missing:
        client.audio.speech.create(model="tts-1", voice="nobody", input=TEXT)
    assert missing.value.param == "voice"
    with pytest.raises(openai.BadRequestError, match="empty") as empty:
        client.audio.speech.create(model="tts-1", voice="alloy", input="")
    assert empty.value.code == "invalid_request"
    with pytest.raises(openai.InternalServerError, match="weights"):
        client.audio.speech.create(model="base", voice="alloy", input=TEXT)


def test_a_wrong_key_is_an_authentication_error(guarded: RunningServer) -> None:
    wrong = openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="wrong", max_retries=0)
    with wrong, pytest.raises(openai.AuthenticationError, match="API key"):
        wrong.models.list()
    with openai.OpenAI(base_url=f"{guarded.url}/v1", api_key="first-key") as client:
        assert client.audio.speech.create(model="tts-1", voice="alloy", input="Hi.").content
