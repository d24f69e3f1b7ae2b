"""The voice library's recordings and names, over HTTP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from tests.running import RunningServer


@pytest.fixture
def mine(server: RunningServer, speech: tuple[Clip, str], speech_wav: bytes) -> Iterator[str]:
    """The path of a voice that was added for one test."""
    form = {"name": "mine to change", "transcript": speech[1]}
    added = server.client.post("/v1/voices", files={"file": ("a.wav", speech_wav)}, data=form)
    added.raise_for_status()
    yield "/v1/voices/mine%20to%20change"
    for name in ("mine to change", "Changed"):
        server.client.delete(f"/v1/voices/{name}")


def test_a_voice_is_renamed(server: RunningServer, mine: str, speech_wav: bytes) -> None:
    renamed = server.client.patch(mine, json={"name": "Changed"})
    assert renamed.status_code == 200, renamed.text
    assert (renamed.json()["name"], renamed.json()["title"]) == ("Changed", "Changed")
    assert server.client.get(mine).status_code == 404
    assert server.client.get("/v1/voices/Changed/audio").content == speech_wav
    answer = server.client.post("/v1/audio/speech", json={"input": "Hi.", "voice": "Changed"})
    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("name", "status"), [("maple", 409), ("alloy", 409), ("", 400), ("a/b", 400), (7, 400), (None, 400)]
)
def test_a_name_that_does_not_fit_changes_nothing(server: RunningServer, mine: str, name: object, status: int) -> None:
    answer = server.client.patch(mine, json={"name": name})
    assert answer.status_code == status
    assert answer.json()["error"]["param"] == "name"
    assert server.client.get(mine).json()["name"] == "mine to change"


def test_what_is_not_there_or_built_in_is_not_renamed(server: RunningServer, mine: str) -> None:
    assert server.client.patch("/v1/voices/nobody", json={"name": "somebody"}).status_code == 404
    assert server.client.patch("/v1/voices/maple", json={"name": "somebody"}).status_code == 409
    taken = server.client.post(
        "/v1/voices",
        files={"file": ("a.wav", server.client.get(f"{mine}/audio").content)},
        data={"name": "Changed", "transcript": "words"},
    )
    assert taken.status_code == 201
    assert server.client.patch(mine, json={"name": "changed"}).status_code == 409


def test_recordings_can_be_heard(server: RunningServer, speech: tuple[Clip, str]) -> None:
    for name in ("maple", "alloy"):
        answer = server.client.get(f"/v1/voices/{name}/audio")
        assert (answer.status_code, answer.headers["Content-Type"]) == (200, "audio/wav")
        assert Decoder().decode(answer.content).seconds == pytest.approx(
            server.client.get(f"/v1/voices/{name}").json()["seconds"], abs=0.01
        )
    assert server.client.get("/v1/voices/nobody/audio").status_code == 404


@pytest.mark.parametrize(
    ("asked", "part"),
    [
        ("bytes=0-99", slice(0, 100)),
        ("bytes=100-", slice(100, None)),
        ("bytes=-50", slice(-50, None)),
        ("bytes=44-99999999", slice(44, None)),
    ],
)
def test_players_ask_for_parts(server: RunningServer, asked: str, part: slice) -> None:
    path = "/v1/voices/maple/audio"
    whole = server.client.get(path)
    assert whole.headers["Accept-Ranges"] == "bytes"
    answer = server.client.get(path, headers={"Range": asked})
    assert answer.status_code == 206
    assert answer.content == whole.content[part]
    start = part.indices(len(whole.content))[0]
    end = start + len(answer.content) - 1
    assert answer.headers["Content-Range"] == f"bytes {start}-{end}/{len(whole.content)}"


def test_parts_that_are_not_there(server: RunningServer) -> None:
    path = "/v1/voices/maple/audio"
    size = len(server.client.get(path).content)
    for asked in (f"bytes={size}-", "bytes=9-3", "bytes=-0"):
        answer = server.client.get(path, headers={"Range": asked})
        assert (answer.status_code, answer.headers["Content-Range"]) == (416, f"bytes */{size}")
    for odd in ("lines=1-2", "bytes=-", "bytes=0-1,5-9"):
        assert len(server.client.get(path, headers={"Range": odd}).content) == size


def test_a_part_of_a_recording_is_sent(server: RunningServer) -> None:
    def part(of: str) -> tuple[int, int]:
        answer = server.client.get("/v1/voices/maple/audio", headers={"Range": f"bytes={of}"})
        return answer.status_code, len(answer.content)

    whole = part("0-")[1]
    assert part("0-99") == (206, 100)
    assert part("-10") == (206, 10)
    assert part(f"{whole}-")[0] == 416
    for meaningless in ("1" * 5_000 + "-", "0-" + "1" * 5_000, "a-b"):
        assert part(meaningless) == (200, whole)
