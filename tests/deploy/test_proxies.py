"""nginx and Caddy as deploy/ configures them, for real."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import encode
from tests.deploy.proxies import NAME, Opener, Proxy, caddy, nginx
from tests.deploy.upstream import read_until, upstream
from tests.running import RunningServer, running_server

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: audio/mpeg\r\nContent-Length: 9\r\n\r\n"
LONG = "The longer the text, the more there is to say after the first word has been heard. " * 100
OPENERS = pytest.mark.parametrize("opener", [nginx, caddy])


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server of this module's own: what it has under way is looked at."""
    with running_server(tmp_path_factory.mktemp("behind")) as running:
        yield running


@pytest.fixture(scope="module", params=[nginx, caddy])
def proxy(
    request: pytest.FixtureRequest, behind: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    port = urlsplit(behind.url).port
    assert port
    opener: Opener = request.param
    with opener(tmp_path_factory.mktemp("proxy"), port) as opened:
        yield opened


def test_everything_is_there_behind_tls(proxy: Proxy) -> None:
    with proxy.client() as client:
        answered = client.get("/readyz")
        assert (answered.status_code, answered.http_version) == (200, "HTTP/2")
        assert client.get("/api/v1/models/status").json()["lite"]["state"]


@pytest.mark.parametrize("form", [{"response_format": "mp3", "stream": True}, {"stream_format": "sse"}])
def test_speech_arrives_while_it_is_made(proxy: Proxy, behind: RunningServer, form: dict[str, object]) -> None:
    marked = f"left-{proxy.port}-{len(form)}"
    body = {"model": "tts-1", "voice": "alloy", "input": LONG, **form}
    with proxy.client() as client:
        request = client.stream("POST", "/v1/audio/speech", json=body, headers={"X-Request-Id": marked})
        with request as response:
            assert response.status_code == 200
            assert next(response.iter_raw())
            assert behind.status()["leases"] == 1, "the first piece came only when all was said"
    # And a client that leaves is missed: nobody goes on speaking to it.
    assert behind.wait_for_log(rf"/v1/audio/speech 499 .*id={marked}")


def test_uploads_may_be_large(proxy: Proxy, speech: tuple[Clip, str]) -> None:
    clip, transcript = speech
    long = Clip(clip.samples.repeat(1 + int(40 / clip.seconds)), clip.rate)
    recording = encode(long, "wav")
    assert len(recording) > 1_500_000
    with proxy.client() as client:
        answered = client.post(
            "/v1/audio/edits",
            files={"file": ("long.wav", recording)},
            data={"steps": '[{"type": "denoise"}]', "transcript": transcript, "response_format": "wav"},
        )
    assert answered.status_code == 200, answered.text
    assert len(answered.content) > 1_500_000


def test_what_is_too_large_is_said_by_the_server_itself(proxy: Proxy) -> None:
    size, piece = 100_500_000, b" " * 500_000
    headers = {"Content-Type": "application/json", "Content-Length": str(size)}
    with httpx.Client(base_url=proxy.origin, verify=proxy.trust(), timeout=60) as client:
        answered = client.post("/v1/audio/speech", content=itertools.repeat(piece, size // len(piece)), headers=headers)
    assert answered.status_code == 413
    assert "at most 100000000 bytes" in answered.json()["error"]["message"]


def test_pages_from_here_may_post_and_others_may_not(proxy: Proxy) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "Hello."}
    with proxy.client() as client:
        assert client.post("/v1/audio/speech", json=body, headers={"Origin": proxy.origin}).status_code == 200
        foreign = client.post("/v1/audio/speech", json=body, headers={"Origin": "https://elsewhere.example"})
    assert foreign.status_code == 403


@OPENERS
def test_a_few_bytes_are_passed_on_at_once(opener: Opener, tmp_path: Path) -> None:
    received = threading.Event()

    def script(connection: socket.socket) -> None:
        read_until(connection, b"\r\n\r\n")
        connection.sendall(HEAD + b"first")
        assert received.wait(30), "the first bytes were held back"
        connection.sendall(b"last")

    with (
        upstream(script) as port,
        opener(tmp_path, port) as proxy,
        proxy.client() as client,
        client.stream("GET", "/") as response,
    ):
        pieces = response.iter_raw()
        assert next(pieces) == b"first"
        received.set()
        assert b"".join(pieces) == b"last"


@OPENERS
def test_an_upload_is_passed_on_at_once(opener: Opener, tmp_path: Path) -> None:
    received = threading.Event()

    def script(connection: socket.socket) -> None:
        read_until(connection, b"first")
        received.set()
        read_until(connection, b"last")
        connection.sendall(HEAD + b"that's it")

    def pieces() -> Iterator[bytes]:
        yield b"first"
        assert received.wait(30), "the first bytes were held back"
        yield b"last"

    with upstream(script) as port, opener(tmp_path, port) as proxy, proxy.client() as client:
        assert client.post("/", content=pieces(), headers={"Content-Length": "9"}).read() == b"that's it"


@OPENERS
def test_websockets_are_let_through_and_the_scheme_is_told(opener: Opener, tmp_path: Path) -> None:
    heads: list[bytes] = []

    def script(connection: socket.socket) -> None:
        heads.append(read_until(connection, b"\r\n\r\n").lower())
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n")
        assert read_until(connection, b"ping") == b"ping"
        connection.sendall(b"pong")

    with (
        upstream(script) as port,
        opener(tmp_path, port) as proxy,
        socket.create_connection(("127.0.0.1", proxy.port), timeout=30) as plain,
        proxy.trust().wrap_socket(plain, server_hostname=NAME) as secure,
    ):
        asked = f"GET / HTTP/1.1\r\nHost: {NAME}:{proxy.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        secure.sendall(asked.encode())
        assert b" 101 " in read_until(secure, b"\r\n\r\n")
        secure.sendall(b"ping")
        assert read_until(secure, b"pong") == b"pong"
    assert f"host: {NAME}:{proxy.port}\r\n".encode() in heads[0]
    assert b"upgrade: websocket\r\n" in heads[0]
    assert b"x-forwarded-proto: https\r\n" in heads[0]


def test_without_tls_nginx_sends_elsewhere(tmp_path_factory: pytest.TempPathFactory, behind: RunningServer) -> None:
    root = tmp_path_factory.mktemp("plain")
    with nginx(root, urlsplit(behind.url).port or 0):
        plain = next(
            line.split("listen ")[1].rstrip(";")
            for line in (root / "conf.d" / "editx.conf").read_text().splitlines()
            if "listen 127" in line and "ssl" not in line
        )
        moved = httpx.get(f"http://{plain}/docs", headers={"Host": NAME})
        assert (moved.status_code, moved.headers["location"]) == (301, f"https://{NAME}/docs")
