"""What a visitor may hand to the page besides what the page itself sends: only files that were uploaded are read."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import httpx
import pytest

from editx.ui.uploads import bound
from tests.running import RunningServer


def hand_over(server: RunningServer, session: str, path: str) -> dict[str, Any]:
    """Say that `path` is a recording for the Edit tab, as no browser would, and return how that ended."""
    config = server.client.get("/config").json()
    types = {component["id"]: component["type"] for component in config["components"]}
    takes_in = next(
        each
        for each in config["dependencies"]
        if [types[id] for id in each["inputs"]] == ["textbox", "audio", "textbox"]
    )
    file = {"path": path, "url": None, "orig_name": "x.wav", "meta": {"_type": "gradio.FileData"}}
    asked = {"data": ["a" * 32, file, ""], "fn_index": takes_in["id"], "session_hash": session}
    server.client.post("/gradio_api/queue/join", json=asked).raise_for_status()
    with httpx.stream("GET", f"{server.url}/gradio_api/queue/data?session_hash={session}", timeout=60) as told:
        for line in told.iter_lines():
            if line.startswith("data:") and "process_completed" in line:
                said: dict[str, Any] = json.loads(line.removeprefix("data:"))
                return said
    raise AssertionError("the page hung up without an answer")


@pytest.mark.parametrize("kind", ["a recording of somebody else", "/etc/passwd", "/dev/zero", "a pipe", "nothing"])
def test_no_file_of_the_server_is_read_that_was_not_uploaded(
    site: RunningServer, recording: Path, tmp_path: Path, kind: str
) -> None:
    path = {"a recording of somebody else": str(recording), "a pipe": str(tmp_path / "pipe")}.get(kind, kind)
    if kind == "a pipe":
        os.mkfifo(path)
    said = hand_over(site, f"session-{kind}".replace(" ", "-").replace("/", "-"), path)
    assert said["success"] is False
    assert "data" not in said["output"]
    assert path not in json.dumps(said), "not even whether it is there is told"
    assert site.client.get("/v1/voices").status_code == 200, "the server goes on"


def test_no_address_is_fetched(site: RunningServer) -> None:
    said = hand_over(site, "session-of-an-address", "http://speech.example/x.wav")
    assert said["success"] is False
    assert said["output"]["error"] == "Give a recording first, by file or microphone."


def test_what_was_uploaded_is_read(site: RunningServer, recording: Path) -> None:
    uploaded = site.client.post("/gradio_api/upload", files={"files": ("x.wav", recording.read_bytes())}).json()
    said = hand_over(site, "session-of-an-upload", uploaded[0])
    assert said["success"] is True
    assert [
        card["number"] for value in said["output"]["data"] if isinstance(value, dict) for card in value.get("cards", [])
    ]


def test_the_oldest_uploads_go_when_they_are_too_many(tmp_path: Path) -> None:
    for number in range(4):
        file = tmp_path / f"{number}" / "x.wav"
        file.parent.mkdir()
        file.write_bytes(bytes(100))
        os.utime(file, (number, number))
    bound(tmp_path, 250)
    assert sorted(path.parent.name for path in tmp_path.rglob("*.wav")) == ["2", "3"]
    bound(tmp_path, 0)
    assert [path.parent.name for path in tmp_path.rglob("*.wav")] == ["3"], "the latest is about to be read"
