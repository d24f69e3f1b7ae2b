"""Recordings that are much work to read cost whoever sent them, and nobody else."""

from __future__ import annotations

import io
import json
import select
import socket
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path

import av
import httpx
import numpy as np
import psutil
import pytest

from editx.audio.clip import Clip
from tests.running import RunningServer, running_server

STEPS = '[{"type": "vad"}]'
READERS = 4


def heavy() -> bytes:
    """Some kilobytes that take seconds to decode: minutes of silence at a high rate, on many channels."""
    file, rate, channels, size = io.BytesIO(), 192_000, 8, 4096
    with av.open(file, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=rate, layout="7.1")
        stream.codec_context.format = "s16"
        silence = np.zeros((1, size * channels), np.int16)
        for start in range(0, 100 * rate, size):
            frame = av.AudioFrame.from_ndarray(silence, "s16", "7.1")
            frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return file.getvalue()


def sending(server: RunningServer, recording: bytes) -> socket.socket:
    """A connection on which an upload was sent; closing it is leaving."""
    form = httpx.Request("POST", f"{server.url}/v1/audio/edits", files={"file": recording}, data={"steps": STEPS})
    content = form.read()
    client = socket.create_connection((form.url.host, form.url.port or 80))
    head = "".join(f"{name}: {value}\r\n" for name, value in form.headers.items())
    client.sendall(f"POST /v1/audio/edits HTTP/1.1\r\n{head}\r\n".encode() + content)
    return client


def test_uploads_that_take_long_stop_nobody_else(tmp_path: Path, speech_wav: bytes) -> None:
    recording = heavy()
    with running_server(tmp_path, "--queue-size", "1") as server, ExitStack() as stack:
        client = server.client
        upload = {"files": {"file": speech_wav}, "data": {"steps": STEPS}}
        client.post("/v1/audio/edits", **upload).raise_for_status()  # type: ignore[arg-type]
        before = set(server.descendants())
        clients = [stack.enter_context(sending(server, recording)) for _ in range(READERS + 1)]
        while len(decoders := set(server.descendants()) - before) < READERS:
            pass
        for decoder in decoders:
            decoder.suspend()

        # One more is one too many.
        refused = client.post("/v1/audio/edits", **upload)  # type: ignore[arg-type]
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "queue_full"), refused.text
        assert int(refused.headers["Retry-After"]) >= 1

        # Everybody else is served while none of them is answered.
        assert client.get("/v1/voices").status_code == 200
        assert client.get("/v1/audio/voices").status_code == 200
        assert client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "alloy"}).status_code == 200
        assert client.get("/readyz").status_code == 200
        assert select.select(clients, [], [], 0)[0] == []

        # A client that leaves takes its decoder along, and what waited is not begun.
        stack.close()
        assert psutil.wait_procs(decoders, timeout=15)[1] == []
        assert client.post("/v1/audio/edits", **upload).status_code == 200  # type: ignore[arg-type]
        assert len([line for line in server.log if "/v1/audio/edits 499" in line]) == READERS + 1


def test_limits_for_strangers_are_not_for_the_library(tmp_path: Path, speech: tuple[Clip, str]) -> None:
    limits = ("--max-audio-seconds", "1", "--max-body", "50kB")
    with running_server(tmp_path, *limits) as server:
        assert server.client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "alloy"}).status_code == 200
        recording = server.client.get("/v1/voices/alloy/audio")
        assert recording.status_code == 200
        assert len(recording.content) > 50_000
        refused = server.client.post("/v1/audio/edits", files={"file": recording.content}, data={"steps": STEPS})
        assert refused.status_code == 413


@pytest.mark.parametrize("fields", [{"mode": "edit"}, {"edit_type": "vad"}, {"edits": [{"type": "vad"}]}])
def test_a_file_to_edit_is_edited_whatever_else_is_said(
    server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes, fields: dict[str, object]
) -> None:
    edits = {"edits": [{"type": "vad"}]} | fields
    payload = {"input": "What would be cloned.", "response_format": "pcm", "stream": False, "step_audio": edits}
    answer = server.client.post(
        "/v1/audio/speech/upload", data={"payload": json.dumps(payload)}, files={"input_audio_file": speech_wav}
    )
    assert answer.status_code == 200, answer.text
    assert float(answer.headers["X-EditX-Audio-Seconds"]) == pytest.approx(speech[0].seconds, rel=0.4)


@pytest.mark.parametrize(
    ("mode", "field"), [("clone", "input_audio_file"), ("vad", "prompt_audio_file"), (None, "prompt_audio_file")]
)
def test_a_recording_that_would_be_ignored_is_refused(
    server: RunningServer, speech_wav: bytes, mode: str | None, field: str
) -> None:
    payload = {"input": "Hi.", "step_audio": {"mode": mode, "edits": [{"type": "vad"}]}}
    files = {field: speech_wav} | ({} if mode else {"input_audio_file": speech_wav})
    answer = server.client.post("/v1/audio/speech/upload", data={"payload": json.dumps(payload)}, files=files)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
