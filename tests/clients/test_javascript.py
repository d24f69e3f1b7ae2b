"""The `openai` package for JavaScript."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from pathlib import Path

from editx.audio.codec import MIME_TYPES, Decoder
from tests.running import RunningServer

HERE = Path(__file__).parent


def test_speech_streaming_formats_and_errors(guarded: RunningServer) -> None:
    node = shutil.which("node")
    assert node, "node is missing: run the tests through `make test`, which sets it up"
    run = subprocess.run(
        [node, "speech.mjs", f"{guarded.url}/v1", "second-key"],
        cwd=HERE,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    report = json.loads(run.stdout)
    for name, file in report["formats"].items():
        assert file["type"] == MIME_TYPES[name]
        data = base64.b64decode(file["audio"])
        seconds = len(data) / 48_000 if name == "pcm" else Decoder().decode(data).seconds
        assert 1.5 < seconds < 6
    assert report["pieces"] > 5
    assert report["bytes"] > 20 * 48_000
    assert set(report["events"][:-1]) == {"speech.audio.delta"}
    assert report["events"][-1] == "speech.audio.done"
    assert "tts-1" in report["models"]
    assert report["errors"] == {
        "voice": {"kind": "NotFoundError", "status": 404, "param": "voice"},
        "input": {"kind": "BadRequestError", "status": 400, "param": "input"},
        "model": {"kind": "NotFoundError", "status": 404, "param": "model"},
    }
