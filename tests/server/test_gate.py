"""Keys, origins, sizes and ids: what a request passes before it reaches a route."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Iterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from editx.server.gate import Gate
from editx.server.metrics import Metrics
from tests.running import RunningServer, running_server

ORIGIN = "https://page.example"
SPEECH = {"input": "Hi.", "voice": "alloy"}
OPENAI_IN_BROWSERS = {
    "authorization", "content-type", "x-stainless-arch", "x-stainless-lang", "x-stainless-os",
    "x-stainless-package-version", "x-stainless-retry-count", "x-stainless-runtime", "x-stainless-runtime-version",
    "x-stainless-timeout",
}  # fmt: skip


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    flags = ("--cors-origins", ORIGIN, "--max-body", "200kB", "--max-text-chars", "500", "--max-audio-seconds", "10")
    env = {"EDITX_API_KEY": "first-key,second-key"}
    with running_server(tmp_path_factory.mktemp("guarded"), *flags, env=env) as server:
        yield server


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_a_key_is_asked_for(guarded: RunningServer) -> None:
    for path in ("/v1/models", "/v1/voices", "/api/v1/models/status", "/metrics", "/no/such/page"):
        for headers in ({}, bearer("wrong"), {"Authorization": "Basic first-key"}, bearer("first-key,")):
            response = guarded.client.get(path, headers=headers)
            assert response.status_code == 401
            assert response.json()["error"]["code"] == "invalid_api_key"
            assert response.headers["WWW-Authenticate"] == "Bearer"
    for key in ("first-key", "second-key"):
        assert guarded.client.get("/v1/models", headers=bearer(key)).status_code == 200
    for path in ("/healthz", "/health", "/readyz", "/docs", "/openapi.json"):
        assert guarded.client.get(path).status_code == 200


def test_without_a_key_any_token_is_accepted(server: RunningServer) -> None:
    assert server.client.get("/v1/models", headers=bearer("whatever")).status_code == 200


def test_pages_of_allowed_origins_may_call(guarded: RunningServer) -> None:
    asked = {
        "Origin": ORIGIN,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": ",".join(sorted(OPENAI_IN_BROWSERS)),
    }
    preflight = guarded.client.options("/v1/audio/speech", headers=asked)
    assert preflight.status_code == 200, preflight.text
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
    allowed = {name.strip() for name in preflight.headers["Access-Control-Allow-Headers"].split(",")}
    assert allowed >= OPENAI_IN_BROWSERS
    assert guarded.client.options("/v1/audio/speech", headers={**asked, "Origin": "https://evil.example"}).is_error
    headers = {**bearer("first-key"), "Origin": ORIGIN}
    response = guarded.client.post("/v1/audio/speech", json=SPEECH, headers=headers)
    assert response.status_code == 200
    assert response.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "X-EditX-Seed" in response.headers["Access-Control-Expose-Headers"]


def test_pages_of_other_origins_may_not(guarded: RunningServer, server: RunningServer) -> None:
    for running in (guarded, server):
        headers = {**bearer("first-key"), "Origin": "https://evil.example"}
        response = running.client.post("/api/v1/models/lite/unload", headers=headers)
        assert response.status_code == 403
        assert "Access-Control-Allow-Origin" not in response.headers
    own = {"Origin": server.url}
    assert server.client.post("/v1/audio/speech", json=SPEECH, headers=own).status_code == 200


def test_bodies_are_limited_whether_they_say_their_size_or_not(guarded: RunningServer) -> None:
    large = json.dumps({**SPEECH, "instructions": "x" * 300_000}).encode()

    def pieces() -> Iterator[bytes]:
        for start in range(0, len(large), 10_000):
            yield large[start : start + 10_000]

    headers = {**bearer("first-key"), "Content-Type": "application/json"}
    for content in (large, pieces()):
        response = guarded.client.post("/v1/audio/speech", content=content, headers=headers)
        assert response.status_code == 413
        assert "200000 bytes" in response.json()["error"]["message"]
    upload = guarded.client.post(
        "/v1/audio/edits", files={"file": large}, data={"steps": "[]"}, headers=bearer("first-key")
    )
    assert upload.status_code == 413


def test_json_is_short_besides_its_recordings(server: RunningServer) -> None:
    def speak(content: bytes) -> httpx.Response:
        return server.client.post("/v1/audio/speech", content=content, headers={"Content-Type": "application/json"})

    for content in (
        b'{"input": "Hi.", "unknown": [' + b"[]," * 400_000 + b"[]]}",
        b'{"input": "' + "\u554a".encode() * 400_000 + b'"}',
        b'{"input": "' + b"\\u554a" * 2_000_001 + b'"}',
        b'{"input": "Hi.", "ref_audio": "' + b"\\n" * 2_000_001 + b'"}',
    ):
        refused = speak(content)
        assert refused.status_code == 413, refused.text
        assert "1000000 bytes besides the base64" in refused.json()["error"]["message"]
    for separator in ("", "\r\n"):
        recording = separator.join(["QUJD" * 19] * 100_000)
        answer = speak(json.dumps({**SPEECH, "ref_audio": recording, "ref_text": "x"}).encode())
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "undecodable_audio"), answer.text


@pytest.mark.parametrize(
    "field", ["voice", "model", "language", "instructions", "step_audio.mode", "step_audio.model_variant"]
)
def test_names_and_words_are_limited(server: RunningServer, field: str) -> None:
    parent, _, name = field.rpartition(".")
    body = {**SPEECH, parent: {name: "a" * 30_000}} if parent else {**SPEECH, name: "a" * 30_000}
    answer = server.client.post("/v1/audio/speech", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, field), answer.text
    assert "at most" in answer.json()["error"]["message"]
    assert len(answer.content) < 1_000


def test_a_text_in_a_form_is_limited(server: RunningServer) -> None:
    long = "a" * 2_000_000
    for path, form, param in (
        ("/v1/audio/speech/upload", {"payload": long}, "payload"),
        ("/v1/audio/edits", {"steps": long}, None),
    ):
        answer = server.client.post(path, data=form, files={"file": b"x"})
        assert (answer.status_code, answer.json()["error"]["param"]) == (413, param), answer.text
        assert next(iter(form)) in answer.json()["error"]["message"]


def test_a_login_is_short(guarded: RunningServer) -> None:
    for fields in (40_000, 1_000):
        assert guarded.client.post("/login", content=b"key=first-key" + b"&a=1" * fields).status_code == 401
    assert guarded.client.post("/login", data={"key": "first-key"}).status_code == 303


def test_a_body_needs_its_type(server: RunningServer) -> None:
    for headers in ({}, {"Content-Type": "text/plain"}, {"Content-Type": "application/x-www-form-urlencoded"}):
        answer = server.client.post("/v1/audio/speech", content=json.dumps(SPEECH), headers=headers)
        assert answer.status_code == 400
        assert "send Content-Type: application/json" in answer.json()["error"]["message"]
    for kind in ("application/json; charset=utf-8", "application/vnd.me+json"):
        answer = server.client.post("/v1/audio/speech", content=json.dumps(SPEECH), headers={"Content-Type": kind})
        assert answer.status_code == 200


def called(server: RunningServer, host: str) -> int:
    return httpx.get(f"{server.url}/v1/models", headers={"Host": host}).status_code


def test_without_a_key_only_names_that_are_ours_are_answered(
    server: RunningServer, guarded: RunningServer, tmp_path_factory: pytest.TempPathFactory
) -> None:
    ours = ("127.0.0.1:7860", "localhost", "LOCALHOST:80", "a.localhost", "[::1]:7860", "192.0.2.7", "editx:7860",
            "host.docker.internal:7860", "localhost.")  # fmt: skip
    theirs = ("evil.example", "evil.example:7860", "localhost.evil.example", "127.0.0.1.evil.example", "a@evil.example")
    assert [called(server, host) for host in ours] == [200] * len(ours)
    assert [called(server, host) for host in theirs] == [403] * len(theirs)
    message = server.client.get("/", headers={"Host": "evil.example"}).json()["error"]["message"]
    assert "evil.example" in message
    assert "EDITX_ALLOWED_HOSTS" in message
    # A key is asked for by whatever name; others decide who reaches a server that listens to more than itself.
    assert called(guarded, "evil.example") == 401
    env = {"EDITX_ALLOWED_HOSTS": "speech.example, Other.Example"}
    with running_server(tmp_path_factory.mktemp("named"), env=env) as named:
        hosts = ("speech.example", "speech.example:443", "other.example", "localhost", "evil.example")
        assert [called(named, host) for host in hosts] == [200, 200, 200, 200, 403]
    with running_server(tmp_path_factory.mktemp("open"), "--host", "0.0.0.0") as everywhere:
        assert called(everywhere, "evil.example") == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/v1/audio/speech", "application/json"),
        ("/v1/audio/edits", "multipart/form-data; boundary=x"),
        ("/login", "application/x-www-form-urlencoded"),
    ],
)
def test_a_client_that_leaves_while_it_sends_is_no_defect(guarded: RunningServer, path: str, kind: str) -> None:
    url = httpx.URL(guarded.url)
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer first-key\r\nContent-Type: {kind}\r\n"
    request_id = f"half.{path.rpartition('/')[2]}"
    with socket.create_connection((url.host, url.port)) as connection:
        connection.sendall(f"{head}X-Request-Id: {request_id}\r\nContent-Length: 100\r\n\r\n--x".encode())
    guarded.wait_for_log(rf"POST {path} 499 .* id={request_id}")
    assert not [line for line in guarded.log if "a defect answered" in line]
    assert f'route="{path}",status="499"' in guarded.client.get("/metrics", headers=bearer("first-key")).text


class Broken(Exception):
    pass


@pytest.mark.parametrize("started", [False, True])
def test_a_defect_is_answered_logged_and_counted_as_one(started: bool, caplog: pytest.LogCaptureFixture) -> None:
    metrics = Metrics()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if started:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"half", "more_body": True})
        raise Broken("a defect")

    gate = Gate(app, keys=[], origins=[], max_body=100, metrics=metrics)

    async def ask() -> httpx.Response:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(gate), base_url="http://localhost") as client:
            return await client.get("/x", headers={"X-Request-Id": "my-id"})

    if started:
        with contextlib.suppress(AssertionError):  # of the transport, which is given no end
            asyncio.run(ask())
    else:
        response = asyncio.run(ask())
        assert (response.status_code, response.headers["X-Request-Id"]) == (500, "my-id")
        assert response.json()["error"]["code"] == "internal"
    assert b'editx_requests_total{method="GET",route="other",status="500"} 1.0' in metrics.render()
    assert "Broken: a defect" in caplog.text


def test_texts_and_recordings_are_limited(guarded: RunningServer) -> None:
    response = guarded.client.post(
        "/v1/audio/speech", json={**SPEECH, "input": "word " * 101}, headers=bearer("first-key")
    )
    assert response.status_code == 413
    assert "500 characters" in response.json()["error"]["message"]
    silence = b"RIFF\xff\xff\xff\xffWAVEfmt " + bytes.fromhex("10000000 0100 0100 401f0000 401f0000 0100 0800")
    silence += b"data\xff\xff\xff\xff" + b"\x80" * 90_000
    response = guarded.client.post(
        "/v1/audio/edits",
        files={"file": silence},
        data={"steps": '[{"type": "vad"}]'},
        headers=bearer("first-key"),
    )
    assert response.status_code == 413
    assert "10" in response.json()["error"]["message"]


def test_ids_are_passed_on_or_made(server: RunningServer) -> None:
    given = server.client.get("/healthz", headers={"X-Request-Id": "my-id.1"})
    assert given.headers["X-Request-Id"] == "my-id.1"
    made = [server.client.get("/healthz", headers={"X-Request-Id": "bad id!"}).headers["X-Request-Id"] for _ in "ab"]
    assert made[0] != made[1]
    server.wait_for_log("GET /healthz 200 .* id=my-id.1")


def test_errors_of_the_framework_have_the_same_shape(server: RunningServer) -> None:
    for response, status in (
        (server.client.get("/no/such/page"), 404),
        (server.client.get("/v1/audio/speech"), 405),
        (server.client.post("/v1/audio/edits", content=b"x", headers={"Content-Type": "multipart/form-data"}), 400),
        (server.client.get("/v1/audio/voices?legacy=maybe"), 400),
    ):
        assert response.status_code == status
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_health_answers_while_a_model_loads_and_works(server: RunningServer) -> None:
    with server.client.stream("POST", "/v1/audio/speech", json={**SPEECH, "input": "And so on. " * 100}) as response:
        pieces = response.iter_bytes()  # kept: dropping it would close the response
        next(pieces)
        for _ in range(20):
            assert httpx.get(f"{server.url}/healthz", timeout=2).json() == {"status": "ok"}


def test_a_wrong_method_is_told_the_right_ones(server: RunningServer) -> None:
    assert server.client.put("/v1/voices/alloy").headers["Allow"] == "DELETE, GET, PATCH"
    assert server.client.get("/v1/audio/speech").headers["Allow"] == "POST"


def test_nobody_writes_lines_into_the_log(server: RunningServer) -> None:
    server.client.get("/no%0Asuch%0Dpage")
    server.wait_for_log("GET /no%0Asuch%0Dpage 404")


def test_urls_are_fetched_only_where_allowed_and_public(tmp_path_factory: pytest.TempPathFactory) -> None:
    with running_server(tmp_path_factory.mktemp("urls"), "--allow-url-audio") as server:
        for url in (
            f"{server.url}/healthz",
            "http://localhost:1/a.wav",
            "http://169.254.169.254/latest",
            "file:///etc/passwd",
        ):
            response = server.client.post("/v1/audio/speech", json={**SPEECH, "ref_audio": url, "ref_text": "x"})
            assert response.status_code == 400, url
            assert response.json()["error"]["param"] == "ref_audio"
