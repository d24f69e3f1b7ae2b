"""Keys, origins, sizes and ids: what a request passes before it reaches a route."""

from __future__ import annotations

import json
from collections.abc import Iterator

import httpx
import pytest

from tests.running import RunningServer, running_server

ORIGIN = "https://page.example"
SPEECH = {"input": "Hi.", "voice": "alloy"}


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
        "Access-Control-Request-Headers": "Authorization",
    }
    preflight = guarded.client.options("/v1/audio/speech", headers=asked)
    assert preflight.headers["Access-Control-Allow-Origin"] == ORIGIN
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
