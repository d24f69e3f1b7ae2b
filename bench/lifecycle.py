"""What the lifecycle costs, beside what it may cost: `python bench/lifecycle.py [--json]`.

Exits with 1 if a target is missed.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass

from editx import LazyModelManager, ModelPool
from editx.lifecycle import Event, PoolVariant

LOAD_S = 2.0
LOADS = 3
STATUS_INTERVAL_S = 0.001
IDLE_TIMEOUT_S = 0.25
UNLOADS = 20
SHUTDOWNS = 50
LEASES = 50_000
ROUNDS = 5


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured number; `target` is what it must be under, None where there is no demand."""

    name: str
    value: float
    unit: str
    target: float | None = None

    @property
    def met(self) -> bool:
        return self.target is None or self.value < self.target


class Weights:
    """A model with something to close."""

    def close(self) -> None:
        pass


def status_during_a_load() -> list[Figure]:
    """get_status() again and again while a factory takes two seconds.

    The best of a few loads, because a busy machine pauses any process for longer than the limit now and then.
    """
    took = min((one_load() for _ in range(LOADS)), key=max)
    cuts = statistics.quantiles(took, n=100)
    return [
        Figure("status during a load, p50", cuts[49], "ms", 1.0),
        Figure("status during a load, p99", cuts[98], "ms", 1.0),
        Figure(f"status during a load, max of {len(took)}", max(took), "ms", 1.0),
    ]


def one_load() -> list[float]:
    """Milliseconds of each get_status() during one load."""
    idle = threading.Event()

    def factory() -> Weights:
        idle.wait(LOAD_S)
        return Weights()

    manager = LazyModelManager(factory)
    ticket = manager.request()
    took: list[float] = []
    while not ticket.done:
        began = time.perf_counter()
        manager.get_status()
        took.append((time.perf_counter() - began) * 1e3)
        idle.wait(STATUS_INTERVAL_S)
    manager.shutdown()
    return took


def unload_lateness() -> list[Figure]:
    """How long after it is due an idle model is closed."""
    late: list[float] = []
    for _ in range(UNLOADS):
        gone = threading.Event()
        moments: dict[str, float] = {}

        def observer(event: Event, moments: dict[str, float] = moments, gone: threading.Event = gone) -> None:
            moments[event.kind] = event.time
            if event.kind == "unloaded":
                gone.set()

        manager = LazyModelManager(Weights, idle_timeout=IDLE_TIMEOUT_S, observer=observer)
        with manager.lease():
            pass
        gone.wait(60)
        late.append(moments["unloaded"] - moments["release"] - IDLE_TIMEOUT_S)
        manager.shutdown()
    return [
        Figure("unload after it is due, mean", statistics.mean(late), "s", 0.2),
        Figure(f"unload after it is due, max of {UNLOADS}", max(late), "s", 0.2),
    ]


def shutdown_time() -> list[Figure]:
    """shutdown() of a loaded manager with its timer armed, until no thread is left."""
    took: list[float] = []
    for _ in range(SHUTDOWNS):
        manager = LazyModelManager(Weights)
        with manager.lease():
            pass
        began = time.perf_counter()
        manager.shutdown()
        took.append(time.perf_counter() - began)
    return [Figure(f"shutdown, max of {SHUTDOWNS}", max(took), "s", 0.1)]


def lease_time() -> list[Figure]:
    """Acquiring and releasing what is loaded, by one thread, the mean of the best round."""
    manager = LazyModelManager(Weights)
    watched = LazyModelManager(Weights, observer=lambda event: None)
    pool = ModelPool([PoolVariant(name, Weights, memory_bytes=1) for name in "abc"], budget_bytes=2)
    pool.load("a")

    def lease(take: Callable[[], object]) -> float:
        return best(lambda: with_lease(take))

    figures = [
        Figure("lease and release, manager", lease(manager.lease), "µs", 20.0),
        Figure("lease and release, manager with an observer", lease(watched.lease), "µs", 20.0),
        Figure("lease and release, pool", lease(lambda: pool.lease("a")), "µs", 20.0),
        Figure("request and release, pool", best(lambda: request_and_release(pool)), "µs", 20.0),
        Figure("get_model of a loaded model", best(manager.get_model), "µs"),
        Figure("get_status", best(manager.get_status), "µs"),
    ]
    for owner in (manager, watched, pool):
        owner.shutdown()
    return figures


def with_lease(take: Callable[[], object]) -> None:
    with take():  # type: ignore[attr-defined]
        pass


def request_and_release(pool: ModelPool[Weights]) -> None:
    with pool.request("a").result():
        pass


def best(work: Callable[[], object]) -> float:
    """Microseconds a call takes, on average, in the best of a few rounds."""
    work()
    rounds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        for _ in range(LEASES // ROUNDS):
            work()
        rounds.append((time.perf_counter() - began) / (LEASES // ROUNDS) * 1e6)
    return min(rounds)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    as_json = parser.parse_args().json
    figures = [*status_during_a_load(), *unload_lateness(), *shutdown_time(), *lease_time()]
    if as_json:
        print(json.dumps([{**asdict(figure), "met": figure.met} for figure in figures], indent=2))
    else:
        print(f"{'':<46}{'measured':>14}{'target':>14}")
        for figure in figures:
            target = "" if figure.target is None else f"< {figure.target:g} {figure.unit}"
            missed = "" if figure.met else "  MISSED"
            print(f"{figure.name:<46}{figure.value:>11.4f} {figure.unit:<2}{target:>14}{missed}")
    return 0 if all(figure.met for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
