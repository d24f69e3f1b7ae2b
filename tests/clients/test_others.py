"""LiteLLM, and the very requests that Open WebUI, SillyTavern and Home Assistant send."""

from __future__ import annotations

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from editx.audio.codec import Decoder
from tests.running import RunningServer

TEXT = "The quick brown fox."


def test_litellm(server: RunningServer, tmp_path: Path) -> None:
    out = tmp_path / "speech.wav"
    script = Path(__file__).with_name("litellm_speech.py")
    run = subprocess.run(
        [sys.executable, str(script), f"{server.url}/v1", str(out)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert Decoder().decode_path(out).seconds > 0.8
    assert "nobody" in json.loads(run.stdout.splitlines()[-1])["said"]


def test_open_webui(server: RunningServer) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none"}
    models = server.client.get("/v1/audio/models", headers=headers).json()["models"]
    voices = server.client.get("/v1/audio/voices", headers=headers).json()["voices"]
    assert all(isinstance(row["id"], str) for row in models)
    assert all(row["id"] and row["name"] for row in voices)
    body = {"input": TEXT, "model": "tts-1", "voice": "alloy", "response_format": "mp3"}
    reply = server.client.post("/v1/audio/speech", content=json.dumps(body), headers=headers)
    assert reply.headers["Content-Type"] == "audio/mpeg"
    assert Decoder().decode(reply.content).seconds > 0.8
    wrong = server.client.post("/v1/audio/speech", content=json.dumps({**body, "voice": "x"}), headers=headers)
    assert "x" in wrong.json()["error"]["message"]


def test_sillytavern(server: RunningServer) -> None:
    body = {"model": "tts-1", "input": TEXT, "voice": "onyx", "response_format": "mp3", "speed": 1.25}
    reply = server.client.post("/v1/audio/speech", json=body, headers={"Authorization": "Bearer none"})
    assert Decoder().decode(reply.content).seconds > 0.6


def test_home_assistant_sends_sentences_in_parallel(server: RunningServer) -> None:
    body = {"model": "tts-1", "voice": "shimmer", "response_format": "wav", "speed": 1.0, "instructions": None}
    sentences = ("The door is open.", "It is raining.", "The lights are off now.")
    with ThreadPoolExecutor(3) as pool:
        replies = list(
            pool.map(lambda text: server.client.post("/v1/audio/speech", json={**body, "input": text}), sentences)
        )
    for reply in replies:
        assert reply.status_code == 200
        assert Decoder().decode(reply.content).seconds > 0.5


def test_kokoros_clients_want_plain_names(server: RunningServer) -> None:
    names = server.client.get("/v1/audio/voices?legacy=true").json()["voices"]
    assert all(isinstance(name, str) for name in names)
    assert "alloy" in names
