"""`/v1/audio/speech` on a running server: what comes back is decoded, measured and compared."""

from __future__ import annotations

import base64
import json
import wave
from io import BytesIO

import httpx
import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import FORMATS, Decoder, encode
from tests.running import RunningServer
from tests.sound import median_f0

TEXT = "The quick brown fox jumps over the lazy dog."


def speak(server: RunningServer, **body: object) -> httpx.Response:
    return server.client.post("/v1/audio/speech", json={"model": "tts-1", "input": TEXT, "voice": "alloy", **body})


def sound(response: httpx.Response) -> Clip:
    assert response.status_code == 200, response.text
    return Decoder().decode(response.content)


def pcm(response: httpx.Response) -> Clip:
    assert response.status_code == 200, response.text
    return Clip(np.frombuffer(response.content, "<i2").astype(np.float32) / 32768, 24_000)


@pytest.mark.parametrize("response_format", FORMATS)
def test_every_format_holds_the_same_speech(server: RunningServer, response_format: str) -> None:
    response = speak(server, response_format=response_format, seed=1)
    reference = pcm(speak(server, response_format="pcm", seed=1))
    clip = pcm(response) if response_format == "pcm" else sound(response)
    assert clip.seconds == pytest.approx(reference.seconds, abs=0.15)
    assert np.sqrt(np.mean(clip.samples**2)) == pytest.approx(np.sqrt(np.mean(reference.samples**2)), rel=0.1)
    assert response.headers["X-EditX-Variant"] == "lite"
    assert response.headers["X-EditX-Seed"] == "1"
    assert response.headers["X-Request-Id"]
    assert "load;dur=" in response.headers["Server-Timing"]


def test_whole_files_know_their_length(server: RunningServer) -> None:
    response = speak(server, response_format="wav", stream=False)
    assert int(response.headers["Content-Length"]) == len(response.content)
    with wave.open(BytesIO(response.content)) as file:
        seconds = file.getnframes() / file.getframerate()
    assert seconds == pytest.approx(float(response.headers["X-EditX-Audio-Seconds"]), abs=1e-3)
    for stage in ("queue", "load", "preprocessing", "generation", "decoding", "total"):
        assert f"{stage};dur=" in response.headers["Server-Timing"]


def test_the_same_seed_gives_the_same_bytes_and_none_draws_one(server: RunningServer) -> None:
    one, two, three = (speak(server, response_format="pcm", seed=seed) for seed in (5, 5, 6))
    assert one.content == two.content
    assert len(three.content) > 10_000
    drawn = speak(server, response_format="pcm")
    again = speak(server, response_format="pcm", seed=int(drawn.headers["X-EditX-Seed"]))
    assert drawn.content == again.content


def test_server_sent_events_carry_the_same_audio(server: RunningServer) -> None:
    plain = speak(server, response_format="pcm", seed=3).content
    response = speak(server, response_format="pcm", seed=3, stream_format="sse")
    assert response.headers["Content-Type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in response.text.split("\n\n") if line]
    assert [event["type"] for event in events[:-1]] == ["speech.audio.delta"] * (len(events) - 1)
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == plain
    assert events[-1]["type"] == "speech.audio.done"
    assert events[-1]["editx"]["audio_seconds"] == pytest.approx(len(plain) / 48_000, abs=1e-3)


def test_speed_changes_the_length_and_keeps_the_pitch(server: RunningServer) -> None:
    normal, fast = (pcm(speak(server, response_format="pcm", seed=1, speed=speed)) for speed in (1.0, 2.0))
    assert fast.seconds == pytest.approx(normal.seconds / 2, rel=0.02)
    assert median_f0(fast) == pytest.approx(median_f0(normal), rel=0.06)


def test_instructions_that_name_an_emotion_apply_it(server: RunningServer) -> None:
    plain, happy, other = (
        pcm(speak(server, response_format="pcm", seed=1, instructions=words))
        for words in (None, "Please sound really HAPPY.", "Speak up a bit")
    )
    assert median_f0(happy) > 1.04 * median_f0(plain)
    assert np.array_equal(other.samples, plain.samples)


def test_a_recording_is_cloned_by_every_way_in(server: RunningServer, speech: tuple[Clip, str]) -> None:
    clip, transcript = speech
    low = encode(Clip(clip.samples, round(clip.rate * 0.8)), "flac")
    encoded = base64.b64encode(low).decode()
    ways: list[dict[str, object]] = [
        {"ref_audio": encoded, "ref_text": transcript},
        {"ref_audio": f"data:audio/flac;base64,{encoded}", "ref_text": transcript},
        {"step_audio": {"prompt_audio_base64": encoded, "prompt_text": transcript}},
    ]
    replies = [speak(server, response_format="pcm", seed=1, **way) for way in ways]
    payload = {"input": TEXT, "response_format": "pcm", "seed": 1, "step_audio": {"prompt_text": transcript}}
    replies.append(
        server.client.post(
            "/v1/audio/speech/upload",
            data={"payload": json.dumps(payload)},
            files={"prompt_audio_file": ("low.flac", low)},
        )
    )
    clips = [pcm(reply) for reply in replies]
    for other in clips[1:]:
        assert np.array_equal(other.samples, clips[0].samples)
    assert median_f0(clips[0]) == pytest.approx(0.8 * median_f0(clip), rel=0.08)


def test_clone_with_emotion_and_iterations_in_one_request(server: RunningServer) -> None:
    plain = pcm(speak(server, response_format="pcm", seed=1))
    edits = [{"type": "emotion", "info": "excited", "n": 2}, {"type": "speed", "info": "faster"}]
    edited = pcm(speak(server, response_format="pcm", seed=1, step_audio={"edits": edits}))
    same = speak(
        server, response_format="pcm", seed=1, step_audio={"mode": "clone", "edit_type": "emotion", "edit_info": "sad"}
    )
    assert median_f0(edited) > 1.08 * median_f0(plain)
    assert edited.seconds < 0.9 * plain.seconds
    assert not np.array_equal(pcm(same).samples, plain.samples)


def test_a_recording_is_edited_through_step_audio(server: RunningServer, speech: tuple[Clip, str]) -> None:
    clip, transcript = speech
    encoded = base64.b64encode(encode(clip, "wav")).decode()
    extra = {"mode": "speed", "edit_info": "faster", "input_audio_base64": encoded, "audio_text": transcript}
    faster = pcm(speak(server, input="", response_format="pcm", step_audio=extra))
    assert faster.seconds < 0.95 * clip.seconds
    assert median_f0(faster) == pytest.approx(median_f0(clip), rel=0.06)


def test_long_text_is_spoken_in_parts_without_clicks(server: RunningServer) -> None:
    clip = pcm(speak(server, input=f"{TEXT} " * 12, response_format="pcm", seed=1))
    one = pcm(speak(server, response_format="pcm", seed=1))
    assert clip.seconds > 9 * one.seconds
    assert np.abs(np.diff(clip.samples)).max() <= 1.5 * np.abs(np.diff(one.samples)).max()


@pytest.mark.parametrize(
    ("text", "language"),
    [("今天天气很好。", None), ("今日はいい天気です。", "ja"), ("안녕하세요.", None), ("今日天氣好好", "yue")],
)
def test_languages(server: RunningServer, text: str, language: str | None) -> None:
    clip = pcm(speak(server, input=text, language=language, response_format="pcm"))
    assert 0.5 < clip.seconds < 6
    assert np.abs(clip.samples).max() > 0.05


@pytest.mark.parametrize(
    ("body", "status", "param", "said"),
    [
        ({"input": "  "}, 400, "input", "empty"),
        ({"input": 7}, 400, "input", "string"),
        ({"response_format": "midi"}, 400, "response_format", "mp3"),
        ({"speed": 9}, 400, "speed", "4"),
        ({"seed": -1}, 400, "seed", "0"),
        ({"model": "gpt-7"}, 404, "model", "step-audio-editx"),
        ({"model": "base"}, 503, "model", "weights"),
        ({"input": "x" * 20_001}, 413, "input", "20000"),
        (
            {"step_audio": {"edits": [{"type": "paralinguistic", "text": "x" * 20_001}]}},
            413,
            "step_audio.edits[0].text",
            "20000",
        ),
        ({"input": "…!"}, 400, "input", "spoken"),
        ({"voice": "nobody"}, 404, "voice", "nobody"),
        ({"language": "klingon"}, 400, "language", "Cantonese"),
        ({"keep_alive": "soon"}, 400, "keep_alive", '"5m"'),
        ({"keep_alive": []}, 400, "keep_alive", '"5m"'),
        ({"voice": 7}, 400, "voice", '{"id": "alloy"}'),
        ({"voice": {}}, 400, "voice", '{"id": "alloy"}'),
        ({"ref_audio": "%%%", "ref_text": "x"}, 400, "ref_audio", "base64"),
        ({"ref_audio": "bm90IGF1ZGlv", "ref_text": "x"}, 400, "ref_audio", "not audio"),
        ({"ref_audio": "http://127.0.0.1/x.wav", "ref_text": "x"}, 400, "ref_audio", "allow-url-audio"),
        ({"step_audio": {"mode": "sing"}}, 400, "step_audio.mode", "clone"),
        ({"step_audio": {"mode": "edit", "edit_type": "sing"}}, 400, "step_audio.edit_type", "emotion"),
        ({"step_audio": {"mode": "emotion", "edit_info": "hapy"}}, 400, "step_audio.edit_info", "happy"),
        ({"step_audio": {"mode": "emotion"}}, 400, "step_audio.edit_info", "happy"),
        ({"step_audio": {"edits": [{"type": "style", "info": "x"}]}}, 400, "step_audio.edits[0].info", "whisper"),
        ({"step_audio": {"model_variant": "huge"}}, 404, "step_audio.model_variant", "lite"),
        ({"step_audio": {"mode": "edit"}}, 400, "step_audio.edit_type", "denoise"),
        ({"step_audio": {"edits": [{"type": "vad", "n": 32}]}}, 400, "step_audio.edits", "32"),
        ({"step_audio": {"edit": "sad"}}, 400, "step_audio.edit", "no such field"),
        ({"step_audio": {"edits": [{"kind": "vad", "type": "vad"}]}}, 400, "step_audio.edits.0.kind", "no such field"),
    ],
)
def test_errors_name_what_was_wrong(
    server: RunningServer, body: dict[str, object], status: int, param: str, said: str
) -> None:
    response = speak(server, **body)
    assert response.status_code == status, response.text
    error = response.json()["error"]
    assert error["param"] == param
    assert said in error["message"]
    assert set(error) == {"message", "type", "param", "code"}


def test_a_missing_transcript_is_a_400_that_says_so(server: RunningServer, speech_wav: bytes) -> None:
    encoded = base64.b64encode(speech_wav).decode()
    for body, param in (
        ({"ref_audio": encoded}, "ref_text"),
        ({"step_audio": {"prompt_audio_base64": encoded}}, "step_audio.prompt_text"),
        (
            {"step_audio": {"mode": "emotion", "edit_info": "sad", "input_audio_base64": encoded}},
            "step_audio.audio_text",
        ),
    ):
        response = speak(server, **body)
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "missing_transcript"
        assert response.json()["error"]["param"] == param


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"input": ', b"\xff\xfe", b"null"])
def test_a_body_that_is_no_speech_request(server: RunningServer, content: bytes) -> None:
    response = server.client.post("/v1/audio/speech", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"]


def test_the_first_bytes_leave_before_synthesis_ends(server: RunningServer) -> None:
    body = {"model": "tts-1", "input": f"{TEXT} " * 40, "voice": "alloy", "response_format": "pcm"}
    with server.client.stream("POST", "/v1/audio/speech", json=body) as response:
        pieces = response.iter_bytes()  # kept: dropping it would close the response
        next(pieces)
        assert server.status()["leases"] == 1, "the model is still at work when the first bytes are here"


@pytest.mark.parametrize(
    "content",
    [
        rb'{"input": "a\ud800b"}',
        rb'{"input": "x", "voice": "al\ud800"}',
        rb'{"input": "x", "voice": {"id": "\udfff"}}',
        rb'{"input": "x", "step_audio": {"edits": [{"type": "paralinguistic", "text": "\ud800"}]}}',
        rb'{"in\ud800put": "x", "speed": "\ud800"}',
    ],
)
def test_half_a_character_is_refused_and_can_be_quoted(server: RunningServer, content: bytes) -> None:
    response = server.client.post("/v1/audio/speech", content=content, headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert response.json()["error"]["message"]
    steps = rb'[{"type": "vad", "a\ud800": 1}]'
    response = server.client.post("/v1/audio/edits", files={"file": b"x"}, data={"steps": steps})
    assert response.json()["error"]["param"] == "steps[0]"


def test_words_of_a_recording_are_limited_under_their_name(server: RunningServer, speech_wav: bytes) -> None:
    encoded = base64.b64encode(speech_wav).decode()
    words = "x" * 20_001
    for body, param in (
        ({"ref_audio": encoded, "ref_text": words}, "ref_text"),
        ({"ref_audio": encoded, "step_audio": {"prompt_text": words}}, "step_audio.prompt_text"),
        ({"step_audio": {"prompt_audio_base64": encoded, "prompt_text": words}}, "step_audio.prompt_text"),
        ({"step_audio": {"prompt_audio_base64": encoded}, "ref_text": words}, "ref_text"),
        (
            {"step_audio": {"mode": "denoise", "input_audio_base64": encoded, "audio_text": words}},
            "step_audio.audio_text",
        ),
    ):
        response = speak(server, **body)
        assert (response.status_code, response.json()["error"]["param"]) == (413, param), response.text
    for file, body, param in (
        ("prompt_audio_file", {"step_audio": {"prompt_text": words}}, "step_audio.prompt_text"),
        ("prompt_audio_file", {"ref_text": words}, "ref_text"),
        ("input_audio_file", {"step_audio": {"mode": "vad", "audio_text": words}}, "step_audio.audio_text"),
    ):
        payload = {"payload": json.dumps({"input": TEXT, **body})}
        response = server.client.post("/v1/audio/speech/upload", data=payload, files={file: speech_wav})
        assert (response.status_code, response.json()["error"]["param"]) == (413, param), response.text
    for path, form in (
        ("/v1/audio/edits", {"steps": '[{"type": "vad"}]'}),
        ("/v1/voices", {"name": "long words"}),
    ):
        response = server.client.post(path, data={**form, "transcript": words}, files={"file": speech_wav})
        assert (response.status_code, response.json()["error"]["param"]) == (413, "transcript"), response.text
