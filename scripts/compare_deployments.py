"""Measure two servers that keep their model against one that gives it back, and what an idle time costs.

    python scripts/compare_deployments.py [--variant lite --variant base] [--json]

The two play the set-up of two containers, one for the page and one for the API, each with its model always loaded:
`editx serve --disable-auto-unload`, twice. The one is `editx serve`. `base` is a tiny checkpoint with random weights,
written for the occasion, on the CPU. Prints Markdown tables, or JSON.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import platform
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import httpx
import idle_times
import psutil
from process_memory import MB, Memory, tree_memory

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.running import RunningServer

from editx.cli.native import PACKAGES

TEXT = "Good morning. This is the sentence that every deployment says."
IDLE_TIMEOUT_S = 2.0
SAMPLING_S = 0.05
PATIENCE_S = 60.0
NOT_MEASURED = (
    "GPU memory: no GPU is used, so main memory is all that is shown",
    "the published weights: `base` is a tiny checkpoint of the same layout with random weights on the CPU; its load "
    "time and its memory say nothing about the real ones",
    "containers and their images: server processes stand for them. They run from one installation, so they share in "
    "PSS the pages of their libraries, which containers of two different images would not",
    "other programs: both of the two servers are EditX, each with page and API",
)


@dataclass(frozen=True, slots=True)
class Latency:
    """Seconds from asking to the first audio, and to the last."""

    first_audio_s: float
    complete_s: float

    def __str__(self) -> str:
        return f"{self.first_audio_s:.2f} / {self.complete_s:.2f} s"


@dataclass(frozen=True, slots=True)
class Deployment:
    """What was measured of so many servers with one variant.

    `ready_s`: from the start until requests are accepted and, where models are kept, all are loaded. `first_load_s`:
    the first load of a server, which also converts weights; the median where several load at once. `later_load_s`: the
    median of all further ones, None where there are none. `first`: the first request of all; `warm`: the median of
    those that follow at once; `after_idle`: the median of those to a server that was left alone. `idle`: memory once
    the idle time has passed after a use; `in_use`: the most that was seen while two requests at a time were answered.
    `copies_…`: models loaded then.
    """

    name: str
    variant: str
    servers: int
    ready_s: float
    first_load_s: float
    later_load_s: float | None
    first: Latency
    warm: Latency
    after_idle: Latency
    idle: Memory
    in_use: Memory
    copies_idle: int
    copies_in_use: int


def measure(variant: str, root: Path, flags: list[str], times: int, *, resident: bool) -> Deployment:
    """Start one of the two deployments under `root`, use it, leave it alone, use it again."""
    began = time.perf_counter()
    count = 2 if resident else 1
    keeping = ["--disable-auto-unload"] if resident else ["--idle-timeout", str(IDLE_TIMEOUT_S)]
    with started(root, count, *keeping, *flags) as servers:
        if resident:
            at_once([partial(load, server, variant) for server in servers])
        ready = time.perf_counter() - began
        server = servers[0]
        first = speak(server, variant)
        first_load = statistics.median(load_seconds(each, variant) for each in servers)
        warm = median([speak(server, variant) for _ in range(times)])
        for other in servers[1:]:
            speak(other, variant)
        copies = loaded(servers, variant)
        with peak_memory(servers) as peak:
            at_once([partial(speak, server, variant) for _ in range(times) for server in (servers[0], servers[-1])])
        if resident:
            time.sleep(IDLE_TIMEOUT_S)
        else:
            wait_unloaded(server, variant)
        idle, copies_idle = memory_of(servers), loaded(servers, variant)
        later, loads = [], []
        for _ in range(times):
            later.append(speak(server, variant))
            if not resident:
                loads.append(load_seconds(server, variant))
                server.client.post(f"/api/v1/models/{variant}/unload").raise_for_status()
        name = "two servers, models resident" if resident else "one server, model on demand"
        return Deployment(
            name, variant, count, ready, first_load, statistics.median(loads) if loads else None, first, warm,
            median(later), idle, peak[0], copies_idle, copies,
        )  # fmt: skip


@contextlib.contextmanager
def started(root: Path, count: int, *flags: str) -> Iterator[list[RunningServer]]:
    """So many servers, started at the same moment, each accepting requests."""
    with contextlib.ExitStack() as stack:

        def start(number: int) -> RunningServer:
            directory = root / str(number)
            directory.mkdir(parents=True)
            server = RunningServer(directory, *flags)
            stack.callback(server.stop)
            server.client.timeout = httpx.Timeout(300)
            server.client.get("/readyz").raise_for_status()
            return server

        with ThreadPoolExecutor(count) as pool:
            servers = list(pool.map(start, range(count)))
        yield servers


def at_once(jobs: list[Callable[[], object]]) -> None:
    """Do all of them, two at a time."""
    with ThreadPoolExecutor(2) as pool:
        for future in [pool.submit(job) for job in jobs]:
            future.result()


def load(server: RunningServer, variant: str) -> None:
    server.client.post(f"/api/v1/models/{variant}/load").raise_for_status()


def loaded(servers: list[RunningServer], variant: str) -> int:
    """How many of them have the model loaded."""
    return sum(bool(server.status(variant)["loaded"]) for server in servers)


def wait_unloaded(server: RunningServer, variant: str) -> None:
    """Return once the idle model is gone; looking does not keep it awake."""
    end = time.monotonic() + IDLE_TIMEOUT_S + PATIENCE_S
    while server.status(variant)["state"] != "unloaded":
        if time.monotonic() > end:
            sys.exit(f"{variant} is still loaded {PATIENCE_S:g} s after it was due to go")
        time.sleep(SAMPLING_S)


def load_seconds(server: RunningServer, variant: str) -> float:
    """What the last load took."""
    return float(str(server.status(variant)["last_load_seconds"]))


def speak(server: RunningServer, variant: str) -> Latency:
    """One streamed request."""
    body = {"model": variant, "voice": "alloy", "input": TEXT, "response_format": "pcm", "seed": 1}
    began = time.perf_counter()
    with server.client.stream("POST", "/v1/audio/speech", json=body) as response:
        if response.is_error:
            response.read()
            sys.exit(f"a request was answered {response.status_code}: {response.text}")
        blocks = response.iter_raw()
        next(blocks)
        first = time.perf_counter() - began
        for _ in blocks:
            pass
    return Latency(first, time.perf_counter() - began)


def median(latencies: list[Latency]) -> Latency:
    return Latency(
        statistics.median(latency.first_audio_s for latency in latencies),
        statistics.median(latency.complete_s for latency in latencies),
    )


def memory_of(servers: list[RunningServer]) -> Memory:
    return tree_memory(server.process.pid for server in servers)


@contextlib.contextmanager
def peak_memory(servers: list[RunningServer]) -> Iterator[list[Memory]]:
    """A list whose only item is the most memory (by PSS) that was seen so far, looked at every now and then."""
    peak = [memory_of(servers)]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(SAMPLING_S):
            peak[0] = max(peak[0], memory_of(servers), key=lambda memory: memory.pss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        over.set()
        watcher.join()


def deployment_table(two: Deployment, one: Deployment) -> str:
    """Markdown: what was measured of both, side by side."""

    def memory(found: Memory) -> str:
        return f"{found.pss / MB:.0f} MB ({found.rss / MB:.0f} MB)"

    def first_load(it: Deployment) -> str:
        return f"{it.first_load_s:.3f} s" + (f", {it.servers} at once" if it.servers > 1 else "")

    rows: list[tuple[str, Callable[[Deployment], object]]] = [
        ("containers (here: servers)", lambda it: it.servers),
        ("ports", lambda it: it.servers),
        ("loaded models, in use", lambda it: it.copies_in_use),
        ("loaded models, idle", lambda it: it.copies_idle),
        ("processes, in use", lambda it: it.in_use.processes),
        ("processes, idle", lambda it: it.idle.processes),
        ("memory in use, PSS (RSS)", lambda it: memory(it.in_use)),
        ("memory idle, PSS (RSS)", lambda it: memory(it.idle)),
        ("start to ready", lambda it: f"{it.ready_s:.2f} s"),
        ("first load", first_load),
        ("later load", lambda it: "none" if it.later_load_s is None else f"{it.later_load_s:.3f} s"),
        ("first request after the start", lambda it: it.first),
        ("warm request", lambda it: it.warm),
        ("request after idle time", lambda it: it.after_idle),
    ]
    lines = [f"| {two.variant} | {two.name} | {one.name} |", "|---|---|---|"]
    lines += [f"| {what} | {value(two)} | {value(one)} |" for what, value in rows]
    return "\n".join(lines)


def cold_start_table(ones: list[Deployment], found: list[idle_times.Outcome]) -> str:
    """Markdown: what a cold start costs, and what that is for a request on average at the rarest and densest."""
    shares = [outcome.cold_share for outcome in found]
    lines = [
        "| variant | later load | first audio, warm | first audio, cold | added to a request on average |",
        "|---|---|---|---|---|",
    ]
    for one in ones:
        added = one.after_idle.first_audio_s - one.warm.first_audio_s
        lines.append(
            f"| {one.variant} | {one.later_load_s:.3f} s | {one.warm.first_audio_s:.2f} s | "
            f"{one.after_idle.first_audio_s:.2f} s | {min(shares) * added:.3f} to {max(shares) * added:.3f} s |"
        )
    return "\n".join(lines)


def machine() -> dict[str, object]:
    return {
        "cores": os.cpu_count(),
        "memory_gb": round(psutil.virtual_memory().total / 1e9, 1),
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
    }


def report(pairs: list[tuple[Deployment, Deployment]], found: list[idle_times.Outcome]) -> str:
    """Everything as Markdown."""
    here = machine()
    parts = [
        f"Measured on {here['cores']} cores, {here['memory_gb']} GB, {here['system']}, Python {here['python']}.",
        "Latencies are seconds to the first audio / to the last. PSS shares pages out among the processes that map "
        "them, RSS counts them for each. Idle: the model of the two stays, that of the one has been unloaded.",
        *(deployment_table(two, one) for two, one in pairs),
        "Cold starts, measured. The last column multiplies what a cold start adds by the smallest and the largest "
        "share of cold requests in the table that follows:",
        cold_start_table([one for _, one in pairs], found),
        f"Idle times, computed: {idle_times.REQUESTS} random requests of {idle_times.REQUEST_S:g} s each sent to the "
        "real manager under a simulated clock. *Cold* is the share of requests that had to wait for a load, *held* "
        "the share of the time that the model was in memory:",
        idle_times.table(found),
        "Sessions are requests 45 s apart on average; all others come independently of each other (Poisson), so that "
        "cold = exp(-λ(T + s)) and held = 1 - cold for λ requests a second of s seconds and the idle time T; the "
        f"simulation is within {idle_times.farthest_from_formula(found) * 100:.1f} percentage points of that. Always "
        "on is by definition.",
        "Not measured:\n" + "\n".join(f"- {what}" for what in NOT_MEASURED),
    ]
    return "\n\n".join(parts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--variant", action="append", choices=("lite", "base"), help="both if not given")
    parser.add_argument("--times", type=int, default=5, help="requests behind each median")
    parser.add_argument("--json", action="store_true", help="print JSON instead of tables")
    given = parser.parse_args()
    if given.times < 1:
        parser.error("--times must be at least 1")
    variants = given.variant or ["lite", "base"]
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if "base" in variants and missing:
        parser.error(
            f"for base {' and '.join(missing)} must be there: `make install EXTRAS=step`; or measure the preview "
            "engine alone, with --variant lite"
        )
    pairs = []
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        for variant in variants:
            flags = ["--model-path", str(root / "models"), "--device", "cpu", "--default-variant", variant]
            if variant == "base":
                from editx.engines.step.synth.checkpoint import write_checkpoint

                write_checkpoint(root / "models", size="tiny", variants=["base"], seed=0)
            print(f"measuring both deployments with {variant} …", file=sys.stderr)
            two = measure(variant, root / f"{variant}-two", flags, given.times, resident=True)
            one = measure(variant, root / f"{variant}-one", flags, given.times, resident=False)
            pairs.append((two, one))
    found = idle_times.outcomes()
    if given.json:
        deployments = [asdict(deployment) for pair in pairs for deployment in pair]
        idle = [asdict(outcome) for outcome in found]
        print(json.dumps({
            "machine": machine(), "deployments": deployments, "idle_times": idle, "not_measured": NOT_MEASURED
        }, indent=2))  # fmt: skip
    else:
        print(report(pairs, found))


if __name__ == "__main__":
    main()
