"""Models come when called and leave when idle, seen through the API."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

from tests.running import RunningServer, running_server

BODY = {"model": "tts-1", "input": "One two three.", "voice": "alloy", "response_format": "pcm", "seed": 1}
STATUS_FIELDS = {
    "loaded", "state", "available", "reason", "auto_unload", "idle_timeout", "idle_time", "time_until_unload", "leases",
    "queued", "loads", "unloads", "last_load_seconds", "last_error", "pid", "gpu_memory_allocated_gb",
    "gpu_memory_reserved_gb", "gpu_memory_process_gb", "ram_process_gb",
}  # fmt: skip


def wait_gone(pid: int) -> None:
    psutil.wait_procs([psutil.Process(pid)] if psutil.pid_exists(pid) else [], timeout=30)
    assert not psutil.pid_exists(pid)


def test_the_model_comes_with_the_first_request_and_leaves_when_idle(tmp_path: Path) -> None:
    with running_server(tmp_path, "--idle-timeout", "4") as server:
        before = server.status()
        assert before.keys() >= STATUS_FIELDS
        assert (before["loaded"], before["state"], before["loads"], before["pid"]) == (False, "unloaded", 0, None)
        for path in ("/healthz", "/readyz", "/metrics", "/v1/models", "/v1/voices", "/api/ps", "/v1/tags"):
            assert server.client.get(path).status_code == 200
        assert server.status()["loads"] == 0, "only inference wakes a model"

        first = server.client.post("/v1/audio/speech", json=BODY)
        awake = server.status()
        pid = awake["pid"]
        assert isinstance(pid, int)
        assert awake["loaded"]
        assert awake["auto_unload"]
        assert 0 < awake["time_until_unload"] <= 4  # type: ignore[operator]
        family = [psutil.Process(pid), *psutil.Process(pid).children()]
        assert len(family) == 2, "espeak-ng speaks in a process of its own"
        held = sum(process.memory_info().rss for process in family)
        assert awake["ram_process_gb"] == pytest.approx(held / 1e9, rel=0.05)
        (row,) = server.client.get("/api/ps").json()["models"]
        assert row["model"] == "step-audio-editx:lite"

        wait_gone(pid)
        server.wait_for_log(r"lite unloaded \(idle\)")
        asleep = server.status()
        assert (asleep["loaded"], asleep["unloads"], asleep["pid"], asleep["ram_process_gb"]) == (False, 1, None, 0)
        assert server.client.get("/api/ps").json() == {"models": []}

        again = server.client.post("/v1/audio/speech", json=BODY)
        assert again.content == first.content
        assert server.status()["loads"] == 2


def test_concurrent_first_requests_share_one_load(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(lambda _: server.client.post("/v1/audio/speech", json=BODY), range(8)))
        assert {reply.status_code for reply in replies} == {200}
        assert len({reply.content for reply in replies}) == 1
        assert server.status()["loads"] == 1


def test_load_and_unload_by_hand(tmp_path: Path) -> None:
    with running_server(tmp_path, "--disable-auto-unload") as server:
        assert server.client.post("/api/v1/models/lite/load").json() == {"status": "loaded", "variant": "lite"}
        status = server.status()
        pid = status["pid"]
        assert isinstance(pid, int)
        assert (status["auto_unload"], status["time_until_unload"]) == (False, None)
        assert server.client.post("/api/v1/models/lite/unload").json() == {"status": "unloaded", "variant": "lite"}
        wait_gone(pid)
        assert server.client.post("/api/v1/models/lite/unload").status_code == 200, (
            "unloading what is not there is fine"
        )
        for verb in ("load", "unload"):
            response = server.client.post(f"/api/v1/models/huge/{verb}")
            assert response.status_code == 404
            assert "lite" in response.json()["error"]["message"]
        assert server.client.post("/api/v1/models/base/load").status_code == 503


def test_keep_alive_decides_per_request(tmp_path: Path) -> None:
    with running_server(tmp_path, "--idle-timeout", "200") as server:
        server.client.post("/v1/audio/speech", json={**BODY, "keep_alive": "5m"})
        assert 290 < server.status()["time_until_unload"] <= 300  # type: ignore[operator]
        server.client.post("/v1/audio/speech", json={**BODY, "keep_alive": -1})
        assert server.status()["time_until_unload"] is None
        pid = server.status()["pid"]
        assert isinstance(pid, int)
        server.client.post("/v1/audio/speech", json={**BODY, "keep_alive": 0})
        wait_gone(pid)


def test_unload_now_ends_requests_with_a_clear_error(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        body = {**BODY, "input": "This goes on and on. " * 300, "stream_format": "sse"}
        with server.client.stream("POST", "/v1/audio/speech", json=body) as response:
            lines = response.iter_lines()
            assert "delta" in next(lines)
            assert server.client.post("/api/v1/models/lite/unload?now=true").status_code == 200
            last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
        assert last["type"] == "error"
        assert last["error"]["code"] == "model_unloaded"
        assert server.client.post("/v1/audio/speech", json=BODY).status_code == 200


def test_model_lists(server: RunningServer) -> None:
    ids = [row["id"] for row in server.client.get("/v1/models").json()["data"]]
    assert {"step-audio-editx", "tts-1", "tts-1-hd", "gpt-4o-mini-tts", "lite", "base", "step-audio-editx:awq"} <= set(
        ids
    )
    for model in ids:
        assert server.client.get(f"/v1/models/{model}").json()["id"] == model
    assert server.client.get("/v1/models/nothing").status_code == 404
    assert {row["id"] for row in server.client.get("/v1/audio/models").json()["models"]} == set(ids)


@pytest.mark.parametrize("keep_alive", [1e12, "1" * 400 + "h", 1e300])
def test_a_model_may_stay_for_ever(server: RunningServer, keep_alive: object) -> None:
    assert server.client.post("/v1/audio/speech", json={**BODY, "keep_alive": keep_alive}).status_code == 200
    (row,) = server.client.get("/api/ps").json()["models"]
    assert row["expires_at"] > "2050"
    server.client.post("/v1/audio/speech", json=BODY)


def test_a_server_whose_default_cannot_be_loaded_is_not_ready(tmp_path: Path) -> None:
    with running_server(tmp_path, "--default-variant", "base") as server:
        not_ready = server.client.get("/readyz")
        assert (not_ready.status_code, not_ready.json()["error"]["code"]) == (503, "load_failed")
        assert "weights" in not_ready.json()["error"]["message"]
        assert server.client.get("/healthz").status_code == 200


def test_the_status_says_why_a_variant_is_not_there(server: RunningServer) -> None:
    status = server.status("base")
    assert not status["available"]
    assert "Step-Audio-EditX" in str(status["reason"])


def test_metrics(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        fresh = server.client.get("/metrics").text.splitlines()
        for never in ("model_loads_total", "model_load_failures_total", "worker_restarts_total"):
            assert f'editx_{never}{{variant="lite"}} 0.0' in fresh
        assert 'editx_requests_total{method="POST",route="/v1/audio/speech",status="429"} 0.0' in fresh
        server.client.post("/v1/audio/speech", json=BODY)
        server.client.post("/api/v1/models/lite/unload")
        server.client.get("/no/such/page")
        text = server.client.get("/metrics").text
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert values['editx_requests_total{method="POST",route="/v1/audio/speech",status="200"}'] == "1.0"
    assert values['editx_requests_total{method="GET",route="other",status="404"}'] == "1.0"
    assert float(values['editx_audio_seconds_total{variant="lite"}']) > 0.5
    assert values['editx_real_time_factor_count{variant="lite"}'] == "1.0"
    assert values['editx_time_to_first_audio_seconds_count{variant="lite"}'] == "1.0"
    assert values['editx_model_loads_total{variant="lite"}'] == "1.0"
    assert values['editx_model_load_seconds_count{variant="lite"}'] == "1.0"
    assert values['editx_model_unloads_total{reason="forced",variant="lite"}'] == "1.0"
    assert values['editx_queue_length{variant="lite"}'] == "0.0"
    assert float(values['editx_process_memory_bytes{process="server"}']) > 1e7


@pytest.mark.parametrize("zygote", ["--zygote", "--no-zygote"])
def test_nothing_is_left_when_the_server_stops(tmp_path: Path, zygote: str) -> None:
    with running_server(tmp_path, zygote) as server:
        server.client.post("/v1/audio/speech", json=BODY)
        family = server.descendants()
        assert family
        assert server.stop() == 0
        assert psutil.wait_procs(family, timeout=10)[1] == []
