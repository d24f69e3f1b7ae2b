"""What goes wrong around a request costs that request, and no more."""

from __future__ import annotations

import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
import pytest

from editx.audio.codec import FORMATS
from tests.running import RunningServer, running_server

BODY = {"model": "tts-1", "input": "One two three.", "voice": "alloy", "response_format": "pcm", "seed": 1}
LONG = {**BODY, "input": "This goes on and on, and has no end that anybody could see. " * 100}


def worker_pid(server: RunningServer) -> int:
    pid = server.status()["pid"]
    assert isinstance(pid, int)
    return pid


def metric(server: RunningServer, name: str) -> float:
    """A counter, of all variants together."""
    text = server.client.get("/metrics").text
    return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name))


def wait_until(
    server: RunningServer, holds: Callable[[dict[str, object]], bool], *, variant: str = "lite", tries: int = 3_000
) -> None:
    """Look at the status, which costs a millisecond or two, until it is as it should be."""
    for _ in range(tries):
        if holds(server.status(variant)):
            return
    raise AssertionError(f"it never came to be: {server.status(variant)}")


def test_a_client_that_leaves_cancels_the_work(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        for body in (LONG, {**LONG, "stream": False}, {**LONG, "stream_format": "sse"}):
            with _asking(server, body):
                wait_until(server, lambda status: status["leases"] == 1)
            wait_until(server, lambda status: status["leases"] == 0)
        assert metric(server, "editx_jobs_cancelled_total") == 3
        assert len([line for line in server.log if "/v1/audio/speech 499" in line]) == 3
        pid = worker_pid(server)
        assert server.client.post("/v1/audio/speech", json=BODY).status_code == 200
        assert worker_pid(server) == pid, "cancelling costs no worker"


def _asking(server: RunningServer, body: dict[str, object], *, sent: float = 1.0) -> socket.socket:
    """A connection on which a request was sent, or a part of its body; closing it is leaving."""
    content = json.dumps(body).encode()
    address = httpx.URL(server.url)
    client = socket.create_connection((address.host, address.port or 80))
    head = f"POST /v1/audio/speech HTTP/1.1\r\nHost: {address.host}\r\nContent-Type: application/json\r\n"
    client.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n".encode() + content[: round(sent * len(content))])
    return client


def test_a_worker_killed_before_any_audio_costs_nothing(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        expected = server.client.post("/v1/audio/speech", json=BODY).content
        with ThreadPoolExecutor(1) as pool:
            os.kill(worker_pid(server), signal.SIGSTOP)
            reply = pool.submit(server.client.post, "/v1/audio/speech", json=BODY)
            wait_until(server, lambda status: status["leases"] == 1)
            os.kill(worker_pid(server), signal.SIGKILL)
            assert reply.result(60).content == expected
        assert metric(server, "editx_worker_restarts_total") == 1


def test_what_a_dead_worker_made_and_nobody_heard_is_not_heard_twice(tmp_path: Path) -> None:
    with running_server(tmp_path, program="tests.server.faulty") as server:
        for speed, milliseconds in ((1.0, 10), (2.0, 20), (0.5, 20)):
            body = {**BODY, "input": f"relapse:{milliseconds}", "speed": speed}
            after_a_death = server.client.post("/v1/audio/speech", json=body)
            assert (tmp_path / "relapsed").exists()
            assert after_a_death.content == server.client.post("/v1/audio/speech", json=body).content
            (tmp_path / "relapsed").unlink()


def test_a_worker_killed_in_mid_audio_breaks_the_stream_off(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        with server.client.stream("POST", "/v1/audio/speech", json=LONG) as response:
            pieces = response.iter_bytes()
            next(pieces)
            os.kill(worker_pid(server), signal.SIGKILL)
            try:
                list(pieces)
                raise AssertionError("the stream ended as if it were whole")
            except httpx.RemoteProtocolError:
                pass
        with server.client.stream("POST", "/v1/audio/speech", json={**LONG, "stream_format": "sse"}) as response:
            lines = response.iter_lines()
            next(lines)
            os.kill(worker_pid(server), signal.SIGKILL)
            last = json.loads([line for line in lines if line][-1].removeprefix("data: "))
        assert (last["type"], last["error"]["code"]) == ("error", "model_crashed")
        assert server.client.get("/healthz").status_code == 200


def test_a_worker_that_stalls_is_killed_and_the_request_told(tmp_path: Path) -> None:
    with running_server(tmp_path, "--stall-timeout", "1.5") as server:
        server.client.post("/v1/audio/speech", json=BODY)
        stalled = psutil.Process(worker_pid(server))
        stalled.suspend()
        response = server.client.post("/v1/audio/speech", json=BODY)
        assert response.status_code == 504
        assert response.json()["error"]["code"] == "stalled"
        assert psutil.wait_procs([stalled], timeout=10)[1] == []
        assert server.client.post("/v1/audio/speech", json=BODY).status_code == 200


def test_a_server_whose_default_crashes_again_and_again_is_not_ready(tmp_path: Path) -> None:
    crash = {**BODY, "input": "exit:3", "stream": False}
    with running_server(tmp_path, program="tests.server.faulty") as server:
        for crashes in range(7):  # left alone for at most 5 s after each, which a request waits for
            assert server.status()["crashes"] == crashes
            assert server.client.get("/readyz").json() == {"status": "ready"}
            assert server.client.post("/v1/audio/speech", json=crash).json()["error"]["code"] == "model_crashed"
        for refused in (
            server.client.get("/readyz"),
            server.client.post("/v1/audio/speech", json={**BODY, "input": "echo"}),
        ):
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "backing_off")
            assert "lite crashed" in refused.json()["error"]["message"]
        assert server.client.get("/healthz").status_code == 200


def test_samples_that_are_no_numbers_cost_the_request_alone(tmp_path: Path) -> None:
    with running_server(tmp_path, program="tests.server.faulty") as server:
        for format in FORMATS:
            response = server.client.post(
                "/v1/audio/speech", json={**BODY, "input": "nan:0", "response_format": format}
            )
            assert (response.status_code, response.json()["error"]["code"]) == (500, "engine_fault"), format
            assert "no finite numbers" in response.json()["error"]["message"]
        pid = worker_pid(server)
        body = {**BODY, "input": "nan:30", "stream_format": "sse", "response_format": "mp3"}
        events = server.client.post("/v1/audio/speech", json=body).text.splitlines()
        last = json.loads([line for line in events if line][-1].removeprefix("data: "))
        assert (last["type"], last["error"]["code"]) == ("error", "engine_fault")
        assert server.client.post("/v1/audio/speech", json={**BODY, "input": "echo"}).status_code == 200
        assert worker_pid(server) == pid, "the worker is as good as before"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits another process")
def test_a_disk_that_takes_no_more_is_told(tmp_path: Path, speech_wav: bytes) -> None:
    with running_server(tmp_path) as server:
        hard = resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE)[1]
        form = {"name": "mine", "transcript": "What I say."}
        for size, status in ((40_000, 507), (hard, 201)):
            resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (size, hard))
            response = server.client.post("/v1/voices", data=form, files={"file": speech_wav})
            assert response.status_code == status, response.text
            if status == 507:
                error = response.json()["error"]
                assert (error["code"], error["type"]) == ("storage_failed", "server_error")
                assert (
                    f"the voices in {tmp_path / 'data' / 'voices'} cannot be changed: File too large"
                    in error["message"]
                )


def test_a_full_queue_answers_429_at_once(tmp_path: Path) -> None:
    with running_server(tmp_path, "--queue-size", "1", "--idle-timeout", "-1") as server:
        server.client.post("/v1/audio/speech", json=BODY)
        os.kill(worker_pid(server), signal.SIGSTOP)
        with ThreadPoolExecutor(3) as pool:
            replies = [pool.submit(server.client.post, "/v1/audio/speech", json=BODY) for _ in range(2)]
            wait_until(server, lambda status: status["leases"] == 2)
            replies.append(pool.submit(server.client.post, "/v1/audio/speech", json=BODY))
            wait_until(server, lambda status: status["queued"] == 1)
            refused = server.client.post("/v1/audio/speech", json=BODY)
            assert refused.status_code == 429
            assert int(refused.headers["Retry-After"]) >= 1
            assert refused.json()["error"]["type"] == "rate_limit_error"
            not_ready = server.client.get("/readyz")
            assert (not_ready.status_code, not_ready.json()["error"]["code"]) == (503, "queue_full")
            os.kill(worker_pid(server), signal.SIGCONT)
            assert [reply.result(60).status_code for reply in replies] == [200, 200, 200]
        assert server.client.get("/readyz").status_code == 200


def test_a_killed_server_leaves_no_process(tmp_path: Path) -> None:
    with running_server(tmp_path) as server:
        server.client.post("/v1/audio/speech", json=BODY)
        family = server.descendants()
        assert len(family) >= 2
        server.process.kill()
        assert psutil.wait_procs(family, timeout=2)[1] == []


def test_a_stop_lets_requests_under_way_finish(tmp_path: Path) -> None:
    with running_server(tmp_path) as server, ThreadPoolExecutor(1) as pool:
        server.client.post("/v1/audio/speech", json=BODY)
        os.kill(worker_pid(server), signal.SIGSTOP)
        reply = pool.submit(server.client.post, "/v1/audio/speech", json=BODY)
        wait_until(server, lambda status: status["leases"] == 1)
        pid = worker_pid(server)
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_log("Shutting down")
        os.kill(pid, signal.SIGCONT)
        assert reply.result(60).status_code == 200
        assert server.process.wait(30) == 0


def test_requests_that_outlast_a_stop_are_told(tmp_path: Path) -> None:
    with running_server(tmp_path, "--drain-timeout", "0.2") as server, ThreadPoolExecutor(2) as pool:
        server.client.post("/v1/audio/speech", json=BODY)
        os.kill(worker_pid(server), signal.SIGSTOP)
        whole = pool.submit(server.client.post, "/v1/audio/speech", json={**LONG, "stream": False})
        stream = pool.submit(server.client.post, "/v1/audio/speech", json=LONG)
        wait_until(server, lambda status: status["leases"] == 2)
        with _asking(server, {**BODY, "unfinished": True}, sent=0.5) as half:
            httpx.get(f"{server.url}/healthz")  # a later connection was answered, so this one was accepted
            server.process.send_signal(signal.SIGTERM)
            for reply in (whole, stream):
                answer = reply.result(60)
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down"), answer.text
                assert int(answer.headers["Retry-After"]) >= 1
            half.settimeout(60)
            told = b"".join(iter(lambda: half.recv(65_536), b""))
            assert told.startswith(b"HTTP/1.1 503")
            assert b"shutting_down" in told
        assert server.process.wait(30) == 0
        assert not [line for line in server.log if "Traceback" in line], "\n".join(server.log[-60:])


def test_a_load_that_hangs_holds_up_no_stop(tmp_path: Path) -> None:
    with running_server(tmp_path, "--drain-timeout", "0.2") as server, ThreadPoolExecutor(1) as pool:
        (zygote,) = (child for child in server.descendants() if "editx.processes.zygote" in child.cmdline())
        zygote.suspend()  # for whose answer a load waits a minute
        load = pool.submit(server.client.post, "/api/v1/models/lite/load")
        wait_until(server, lambda status: status["state"] == "loading")
        server.process.send_signal(signal.SIGTERM)
        answer = load.result(60)
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "shutting_down"), answer.text
        assert server.process.wait(30) == 0
        assert psutil.wait_procs([zygote], timeout=10)[1] == []
