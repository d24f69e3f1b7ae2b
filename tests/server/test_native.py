"""The native engine behind the real server, on a tiny checkpoint in the published layout."""

from __future__ import annotations

import base64
import json
import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import psutil
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder, encode
from tests.running import RunningServer, running_server
from tests.server.test_faults import wait_until

BODY = {"model": "base", "input": "Good morning.", "voice": "alloy", "response_format": "pcm", "seed": 1}
STEPS: list[dict[str, object]] = [
    {"type": "emotion", "info": "happy"},
    {"type": "style", "info": "whisper"},
    {"type": "speed", "info": "faster"},
    {"type": "paralinguistic", "text": "some [Laughter] words"},
    {"type": "denoise"},
    {"type": "vad"},
]


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory, native_root: Path) -> Iterator[RunningServer]:
    flags = ("--model-path", str(native_root), "--device", "cpu", "--max-batch", "2")
    with running_server(tmp_path_factory.mktemp("native"), *flags) as server:
        server.client.timeout = httpx.Timeout(120)
        yield server


@pytest.fixture(scope="module")
def short_wav(speech: tuple[Clip, str]) -> bytes:
    clip = speech[0]
    return encode(Clip(clip.samples[: 2 * clip.rate].copy(), clip.rate), "wav")


def speak(server: RunningServer, **body: object) -> httpx.Response:
    response = server.client.post("/v1/audio/speech", json={**BODY, **body})
    assert response.status_code == 200, response.text
    return response


def edit(server: RunningServer, wav: bytes, steps: list[dict[str, object]], **fields: str) -> httpx.Response:
    data = {"steps": json.dumps(steps), "transcript": "some words", "variant": "base", "seed": "1", **fields}
    response = server.client.post("/v1/audio/edits", files={"file": wav}, data=data)
    assert response.status_code == 200, response.text
    return response


def test_variants_appear_once_their_directories_exist(native: RunningServer) -> None:
    status = native.client.get("/api/v1/models/status").json()
    assert all(status[name]["available"] for name in ("base", "awq", "bnb", "lite"))
    response = native.client.post("/v1/audio/speech", json={**BODY, "model": "step-audio-editx"})
    assert response.headers["X-EditX-Variant"] == "base", "the best variant there is answers by default"


@pytest.mark.parametrize("variant", ["awq", "bnb"])
def test_quantised_variants_answer(native: RunningServer, variant: str) -> None:
    response = speak(native, model=f"step-audio-editx:{variant}", keep_alive=0)
    assert response.headers["X-EditX-Variant"] == variant
    assert len(response.content) > 24_000


def test_a_result_that_was_cut_says_so(native: RunningServer, short_wav: bytes) -> None:
    whole = speak(native, input="Hi.", stream=False)
    cut = len(whole.content) == 2 * 210 // 5 * 2880  # the least that a text may have
    assert whole.headers["X-EditX-Finish-Reason"] == ("length" if cut else "stop")
    events = speak(native, input="Hi.", stream_format="sse").text.split("\n\n")
    done = json.loads(events[-2].removeprefix("data: "))
    assert done["editx"]["finish_reason"] == whole.headers["X-EditX-Finish-Reason"]
    rows = edit(native, short_wav, [{"type": "denoise"}], **{"return": "all"})
    assert rows.json()["finish_reason"] == rows.headers["X-EditX-Finish-Reason"]
    assert speak(native, model="lite", stream=False).headers["X-EditX-Finish-Reason"] == "stop"


@pytest.mark.parametrize("step", STEPS, ids=lambda step: step["type"])
def test_every_edit_type(native: RunningServer, short_wav: bytes, step: dict[str, object]) -> None:
    response = edit(native, short_wav, [step])
    seconds = float(response.headers["X-EditX-Audio-Seconds"])
    assert Decoder().decode(response.content).seconds == pytest.approx(seconds, abs=0.01)
    assert seconds > 0.4


def test_every_iteration_comes_back(native: RunningServer, short_wav: bytes) -> None:
    steps: list[dict[str, object]] = [{"type": "clone", "text": "Well."}, {"type": "style", "info": "whisper"}]
    rows = edit(native, short_wav, steps, **{"return": "all"}).json()["data"]
    assert [row["type"] for row in rows] == ["clone", "style"]
    for row in rows:
        assert Decoder().decode(base64.b64decode(row["audio"])).seconds == pytest.approx(row["seconds"], abs=0.01)


def test_a_recipe_of_two_steps_in_one_request(native: RunningServer) -> None:
    edited = speak(native, step_audio={"edits": [{"type": "emotion", "info": "sad"}]})
    assert edited.content != speak(native).content
    assert edited.content == speak(native, step_audio={"edits": [{"type": "emotion", "info": "sad"}]}).content


def test_only_what_is_heard_while_it_is_made_is_made_in_chunks(native: RunningServer, short_wav: bytes) -> None:
    """The last step of what is streamed; every step of what is not."""
    streamed, whole = speak(native).content, speak(native, stream=False).content
    assert len(streamed) == len(whole)
    assert streamed != whole
    assert speak(native, stream_format="sse", stream=False).text.count("speech.audio.delta") > 1
    (alone,) = edit(native, short_wav, STEPS[:1], **{"return": "all"}).json()["data"]
    first, _ = edit(native, short_wav, STEPS[:2], **{"return": "all"}).json()["data"]
    assert first["audio"] == alone["audio"]


def test_the_first_sound_leaves_before_the_end(native: RunningServer) -> None:
    with native.client.stream(
        "POST", "/v1/audio/speech", json={**BODY, "input": "One and two and three. " * 9}
    ) as reply:
        pieces = reply.iter_bytes()
        next(pieces)
        assert native.status("base")["leases"] == 1


def test_a_client_that_leaves_frees_the_slot(native: RunningServer) -> None:
    for _ in range(3):  # one more than there are slots
        with native.client.stream("POST", "/v1/audio/speech", json={**BODY, "input": "And so on. " * 40}) as reply:
            pieces = reply.iter_bytes()
            next(pieces)
        wait_until(native, lambda status: status["leases"] == 0, variant="base")
    assert speak(native).content


def test_a_worker_killed_in_mid_generation_costs_one_request(native: RunningServer) -> None:
    expected = speak(native).content
    with native.client.stream("POST", "/v1/audio/speech", json={**BODY, "input": "And so on. " * 40}) as reply:
        pieces = reply.iter_bytes()
        next(pieces)
        pid = native.status("base")["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(httpx.RemoteProtocolError):
            list(pieces)
    assert speak(native).content == expected


def test_unload_and_reload_give_equal_samples(native: RunningServer) -> None:
    before = speak(native).content
    pid = native.status("base")["pid"]
    assert isinstance(pid, int)
    worker = psutil.Process(pid)
    native.client.post("/api/v1/models/base/unload").raise_for_status()
    assert psutil.wait_procs([worker], timeout=10)[1] == []
    assert native.status("base")["ram_process_gb"] == 0
    assert speak(native).content == before


def test_equal_requests_at_once_are_equal(native: RunningServer) -> None:
    with ThreadPoolExecutor(3) as pool:
        replies = list(pool.map(lambda seed: speak(native, seed=seed).content, [5, 6, 5]))
    assert replies[0] == replies[2] != replies[1]
    samples = np.frombuffer(replies[0], "<i2")
    assert np.abs(samples).max() > 300


def test_damaged_weights_are_a_503_that_names_the_file(tmp_path: Path, damaged_root: Path) -> None:
    with running_server(tmp_path, "--model-path", str(damaged_root), "--device", "cpu") as server:
        for _ in range(2):
            response = server.client.post("/v1/audio/speech", json=BODY)
            assert response.status_code == 503
            assert "flow.pt" in response.json()["error"]["message"]
        assert "flow.pt" in str(server.status("base")["last_error"])
        assert server.client.post("/v1/audio/speech", json={**BODY, "model": "lite"}).status_code == 200


def test_a_variant_larger_than_the_budget_is_no_default(tmp_path: Path, native_root: Path) -> None:
    flags = ("--model-path", str(native_root), "--device", "cpu", "--gpu-memory-budget", "10GB")
    with running_server(tmp_path, *flags) as server:
        status = server.status("base")
        assert not status["available"]
        assert "whole budget" in str(status["reason"])
        response = server.client.post("/v1/audio/speech", json={**BODY, "model": "tts-1"}, timeout=120)
        assert response.headers["x-editx-variant"] == "awq"
        refused = server.client.post("/v1/audio/speech", json=BODY)
        assert refused.status_code == 503
        assert "raise the budget or choose a smaller variant" in refused.json()["error"]["message"]
