"""`/v1/audio/edits`, voices and tags on a running server."""

from __future__ import annotations

import base64
import json

import httpx
import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from tests.running import RunningServer
from tests.sound import median_f0

DECODER = Decoder()


def edit(server: RunningServer, wav: bytes, steps: object, **fields: str) -> httpx.Response:
    data = {"steps": steps if isinstance(steps, str) else json.dumps(steps), **fields}
    return server.client.post("/v1/audio/edits", files={"file": ("source.wav", wav)}, data=data)


def test_the_last_result_comes_back(server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes) -> None:
    response = edit(server, speech_wav, [{"type": "style", "info": "child"}], transcript=speech[1], seed="4")
    assert response.status_code == 200, response.text
    assert response.headers["Content-Type"] == "audio/wav"
    assert response.headers["X-EditX-Seed"] == "4"
    result = DECODER.decode(response.content)
    assert result.rate == 24_000
    assert median_f0(result) > 1.1 * median_f0(speech[0])


def test_every_iteration_comes_back(server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes) -> None:
    steps = [
        {"type": "denoise"},
        {"type": "speed", "info": "faster", "n": 2},
        {"type": "paralinguistic", "text": f"{speech[1]} [Laughter]"},
    ]
    response = edit(server, speech_wav, steps, transcript=speech[1], response_format="flac", **{"return": "all"})
    assert response.status_code == 200, response.text
    body = response.json()
    rows = body["data"]
    assert [(row["index"], row["type"], row["info"]) for row in rows] == [
        (0, "denoise", None), (1, "speed", "faster"), (2, "speed", "faster"), (3, "paralinguistic", None),
    ]  # fmt: skip
    clips = [DECODER.decode(base64.b64decode(row["audio"])) for row in rows]
    for row, clip in zip(rows, clips, strict=True):
        assert clip.seconds == pytest.approx(row["seconds"], abs=0.01)
    first_cut, second_cut = clips[1].seconds / clips[0].seconds, clips[2].seconds / clips[1].seconds
    assert first_cut == pytest.approx(second_cut, abs=0.03)
    assert first_cut < 0.95
    assert clips[3].seconds > clips[2].seconds + 0.2
    assert rows[3]["transcript"].endswith("[Laughter]")
    assert body["variant"] == "lite"
    assert set(body["timings"]) >= {"queue", "load", "preprocessing", "generation", "decoding", "total"}


def test_a_recipe_gives_what_its_steps_give_one_by_one(
    server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes
) -> None:
    steps = [{"type": "emotion", "info": "sad"}, {"type": "speed", "info": "slower"}]
    at_once = edit(server, speech_wav, steps, transcript=speech[1], seed="9")
    wav = speech_wav
    for step in steps:
        wav = edit(server, wav, [step], transcript=speech[1], seed="9").content
    one, other = DECODER.decode(at_once.content), DECODER.decode(wav)
    assert one.seconds == pytest.approx(other.seconds, abs=0.05)
    assert median_f0(one) == pytest.approx(median_f0(other), rel=0.03)


@pytest.mark.parametrize("rate", [8_000, 44_100])
def test_any_rate_and_format_goes_in(server: RunningServer, speech: tuple[Clip, str], rate: int) -> None:
    from editx.audio.resample import resample

    data = encode(resample(speech[0], rate), "mp3")
    result = DECODER.decode(edit(server, data, [{"type": "denoise"}]).content)
    assert result.seconds == pytest.approx(speech[0].seconds, abs=0.15)


@pytest.mark.parametrize(
    ("steps", "param", "said"),
    [
        ("[", "steps", "JSON"),
        ("[" * 100_000, "steps", "nested"),
        ("[" * 3_000 + "]" * 3_000, "steps", ""),
        ("{}", "steps", "list"),
        ("[]", "steps", "at least one"),
        ([{"type": "emotion", "info": "hapy"}], "steps[0].info", "happy"),
        ([{"type": "denoise"}, {"type": "clone", "text": "x"}], "steps[1].type", "first"),
        ([{"type": "emotion", "info": "sad"}], "transcript", "words"),
        ([{"type": "vad", "n": 32}, {"type": "vad"}], "steps", "32"),
    ],
)
def test_wrong_steps(server: RunningServer, speech_wav: bytes, steps: object, param: str, said: str) -> None:
    response = edit(server, speech_wav, steps)
    assert response.status_code == 400
    assert response.json()["error"]["param"] == param
    assert said in response.json()["error"]["message"]


def test_wrong_files(server: RunningServer, speech_wav: bytes) -> None:
    for data in (b"", b"no audio at all", speech_wav[:20], b"RIFF" + bytes(500)):
        response = edit(server, data, [{"type": "vad"}])
        assert response.status_code == 400, data
        assert response.json()["error"]["code"] == "undecodable_audio"
        assert response.json()["error"]["param"] == "file"
    assert server.client.post("/v1/audio/edits", data={"steps": "[]"}).json()["error"]["param"] == "file"


def test_a_voice_is_added_used_replaced_and_deleted(
    server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes
) -> None:
    def add(**fields: str) -> httpx.Response:
        return server.client.post("/v1/voices", files={"file": ("a.wav", speech_wav)}, data=fields)

    try:
        added = add(name="Anna-Lisa", transcript=speech[1], locale="en-US")
        assert added.status_code == 201, added.text
        assert added.json()["seconds"] == pytest.approx(speech[0].seconds, abs=0.01)
        assert add(name="anna-lisa", transcript="x").status_code == 409
        assert add(name="Anna-Lisa", transcript=speech[1], replace="true").status_code == 201
        names = [voice["id"] for voice in server.client.get("/v1/voices").json()["data"]]
        assert "Anna-Lisa" in names
        response = server.client.post("/v1/audio/speech", json={"input": "Hi.", "voice": {"id": "Anna-Lisa"}})
        assert response.status_code == 200
    finally:
        assert server.client.delete("/v1/voices/Anna-Lisa").json() == {"id": "Anna-Lisa", "deleted": True}
    assert server.client.get("/v1/voices/Anna-Lisa").status_code == 404
    assert server.client.delete("/v1/voices/Anna-Lisa").status_code == 404


def test_voices_that_cannot_be(server: RunningServer, speech_wav: bytes) -> None:
    for name, status in (("../etc/passwd", 400), ("", 400), ("alloy", 409), ("x" * 65, 400)):
        response = server.client.post(
            "/v1/voices", files={"file": ("a.wav", speech_wav)}, data={"name": name, "transcript": "hi"}
        )
        assert response.status_code == status, (name, response.text)
        assert response.json()["error"]["param"] == "name"
    assert server.client.delete("/v1/voices/alloy").status_code == 409


def test_openais_names_always_answer(server: RunningServer) -> None:
    names = [
        "alloy",
        "ash",
        "ballad",
        "coral",
        "echo",
        "fable",
        "nova",
        "onyx",
        "sage",
        "shimmer",
        "verse",
        "marin",
        "cedar",
    ]
    listed = server.client.get("/v1/audio/voices?legacy=true").json()["voices"]
    assert set(names) <= set(listed)
    pitches = set()
    for name in names:
        response = server.client.post(
            "/v1/audio/speech", json={"input": "One.", "voice": name, "response_format": "pcm"}
        )
        samples = np.frombuffer(response.content, "<i2").astype(np.float32) / 32768
        pitches.add(round(median_f0(Clip(samples, 24_000)) / 20))
    assert len(pitches) >= 3, "the names stand for voices that can be told apart"


def test_tags_list_every_option(server: RunningServer) -> None:
    tags = server.client.get("/v1/tags").json()
    assert set(tags["edit_types"]) == {"clone", "emotion", "style", "speed", "paralinguistic", "denoise", "vad"}
    assert len(tags["edit_types"]["style"]["options"]) == 33
    assert "[Laughter]" in tags["paralinguistic_tags"]
    assert "[Cantonese]" in tags["language_tags"]
