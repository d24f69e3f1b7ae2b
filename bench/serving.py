"""What serving costs: latency added by the service, requests per second, start-up, memory.

    python bench/serving.py [--json] [--requests N]

Everything is measured in one run on the preview engine, so the figures compare with each other and with nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import psutil
from rich.console import Console
from rich.table import Table

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.running import RunningServer, running_server

from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.lite.engine import open_engine
from editx.recipe import Clone
from editx.voices import VoiceLibrary

TEXT = "One two three."
BODY = {"model": "lite", "input": TEXT, "voice": "alloy", "response_format": "pcm", "seed": 1, "stream": False}
MIB = 2**20
PAIRS = 100


def milliseconds(work: Callable[[], object], times: int) -> list[float]:
    """How long each of `times` runs took."""
    taken = []
    for _ in range(times):
        began = time.perf_counter()
        work()
        taken.append((time.perf_counter() - began) * 1e3)
    return taken


def engine_here() -> Callable[[], None]:
    """The same request, by calling the engine in this process."""
    engine = open_engine("lite", {}, lambda progress: None)
    with tempfile.TemporaryDirectory() as directory, VoiceLibrary(Path(directory)) as library:
        voice = library.get("alloy")
        clip = voice.clip()
    context = Context(transcript=voice.transcript, seed=1)

    def once() -> None:
        assert any(isinstance(item, Clip) for item in list(engine.run(Clone(TEXT), clip, context)))

    return once


def taken_in_turn(
    one: Callable[[], object], other: Callable[[], object], times: int
) -> tuple[list[float], list[float]]:
    """How long each of `times` runs of two things took, in order. They take turns, and begin by turns, so that whatever
    else the machine does meets both alike: the difference of a pair is what one costs more."""
    for work in (one, other):
        milliseconds(work, 5)
    taken: tuple[list[float], list[float]] = ([], [])
    for i in range(times):
        for which in (0, 1) if i % 2 else (1, 0):
            taken[which].extend(milliseconds((one, other)[which], 1))
    return taken


def requests_per_second(server: RunningServer, clients: int, requests: int) -> float:
    """How many requests a second are answered when so many clients ask at once."""

    def ask(count: int) -> None:
        with httpx.Client(base_url=server.url, timeout=120) as client:
            for _ in range(count):
                client.post("/v1/audio/speech", json=BODY).raise_for_status()

    began = time.perf_counter()
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(ask, [requests // clients] * clients))
    return requests // clients * clients / (time.perf_counter() - began)


def memory(server: RunningServer) -> float:
    """Resident memory of the server process, in MiB."""
    return psutil.Process(server.process.pid).memory_info().rss / MIB


def percentile(taken: list[float], share: float) -> float:
    return sorted(taken)[min(len(taken) - 1, int(share * len(taken)))]


def measure(requests: int) -> list[tuple[str, float, str]]:
    """(what, how much, unit) of everything."""
    rows: list[tuple[str, float, str]] = []
    with tempfile.TemporaryDirectory() as directory:
        began = time.perf_counter()
        with running_server(Path(directory), "--log-level", "warning", "--idle-timeout", "-1") as server:
            server.client.get("/readyz").raise_for_status()
            rows.append(("from `editx serve` to the first accepted request", time.perf_counter() - began, "s"))
            server.client.post("/v1/audio/speech", json=BODY).raise_for_status()
            load = server.status()["last_load_seconds"]
            assert isinstance(load, float)
            rows.append(("loading the model into a worker", load * 1e3, "ms"))
            direct, served = taken_in_turn(
                engine_here(), lambda: server.client.post("/v1/audio/speech", json=BODY).raise_for_status(), PAIRS
            )
            added = [more - less for less, more in zip(direct, served, strict=True)]
            server.client.post("/api/v1/models/lite/unload").raise_for_status()
            for name, share in (("p50", 0.5), ("p99", 0.99)):
                rows.append((f"engine called directly, {name}", percentile(direct, share), "ms"))
                rows.append((f"through the service, {name}", percentile(served, share), "ms"))
                rows.append((f"added by the service, {name} of {PAIRS} pairs", percentile(added, share), "ms"))
            probes = milliseconds(lambda: server.client.get("/healthz").raise_for_status(), 200)
            rows.append(("GET /healthz, p50", statistics.median(probes), "ms"))
            rows.append(("server memory, model unloaded", memory(server), "MiB"))
            for clients in (1, 8, 32):
                rate = requests_per_second(server, clients, max(clients, requests // 4))
                rows.append((f"requests per second, {clients} clients", rate, "1/s"))
            before = memory(server)
            requests_per_second(server, 8, requests)
            rows.append(("server memory after a few hundred requests", before, "MiB"))
            rows.append((f"server memory after {requests} more", memory(server), "MiB"))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    parser.add_argument("--requests", type=int, default=1000, help="requests for the memory figure")
    options = parser.parse_args()
    rows = measure(options.requests)
    if options.json:
        print(json.dumps([{"what": what, "value": value, "unit": unit} for what, value, unit in rows]))
        return
    table = Table("measured", "value", "unit")
    for what, value, unit in rows:
        table.add_row(what, f"{value:.2f}", unit)
    Console().print(table)


if __name__ == "__main__":
    main()
