"""How often a model has to be loaded, and how long it is held, for an idle time and a pattern of requests.

The idle policy is the real one: `LazyModelManager` under a clock that is turned by hand. Requests are drawn at random.
For requests that come independently of each other (Poisson), `lambda` a second, each of which takes `s` seconds, with
an idle time of `T` seconds, what comes out is known beforehand:

    share of requests that find no model = exp(-lambda (T + s))
    share of time the model is held      = 1 - exp(-lambda (T + s))

because a request finds no model if none came in the T + s seconds before it, and at a random moment the model is held
if one did. Loads take no time here: whoever waits for one waits its length on top, and the model is held that much
longer.
"""

from __future__ import annotations

import math
import random
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.lifecycle.simulation import ManualClock

from editx import LazyModelManager
from editx.lifecycle import Event

IDLE_TIMES_S = (60.0, 300.0, 600.0, 1800.0)
REQUESTS = 5_000
REQUEST_S = 5.0
"""How long a request keeps the model busy: a guess at a sentence or two."""
HOUR_S = 3600.0
SESSION_REQUESTS, SESSION_GAP_S, SESSIONS_PER_HOUR = 10, 45.0, 0.25

Gaps = Callable[[random.Random], float]
"""Draws the seconds from one request to the next."""


@dataclass(frozen=True, slots=True)
class Pattern:
    """A way in which requests come. `per_hour`: of a Poisson stream, None of any other."""

    name: str
    gaps: Gaps
    per_hour: float | None = None


def poisson(per_hour: float) -> Pattern:
    return Pattern(f"{per_hour:g} an hour", lambda dice: dice.expovariate(per_hour / HOUR_S), per_hour)


def _session_gap(dice: random.Random) -> float:
    """Within a session for nine gaps in ten on average, else until the next one."""
    if dice.random() < 1 - 1 / SESSION_REQUESTS:
        return dice.expovariate(1 / SESSION_GAP_S)
    return dice.expovariate(SESSIONS_PER_HOUR / HOUR_S)


PATTERNS = (
    poisson(1),
    poisson(6),
    poisson(30),
    Pattern(f"sessions of {SESSION_REQUESTS}, {1 / SESSIONS_PER_HOUR:g} hours apart", _session_gap),
)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one idle time means for one pattern. Shares are 0 to 1; `formula_*` is None where there is no formula."""

    pattern: str
    idle_time_s: float
    cold_share: float
    held_share: float
    formula_cold_share: float | None
    formula_held_share: float | None


def simulate(pattern: Pattern, idle_time_s: float, requests: int = REQUESTS, seed: int = 0) -> Outcome:
    """Let requests come to a manager with this idle time, and count its loads and the time it holds its model."""
    dice = random.Random(seed)
    clock = ManualClock()
    held = [0.0, 0.0]  # in all, and since when

    def observe(event: Event) -> None:
        if event.kind == "ready":
            held[1] = event.time
        elif event.kind == "unloading":
            held[0] += event.time - held[1]

    def spawn(job: Callable[[], None]) -> None:
        clock.call_at(clock.now(), job)

    manager = LazyModelManager(object, idle_time_s, clock=clock, spawn=spawn, observer=observe)
    began = clock.now()
    for _ in range(requests):
        clock.advance(pattern.gaps(dice))
        ticket = manager.request()
        clock.advance(0)  # the load, if there has to be one
        clock.call_at(clock.now() + REQUEST_S, ticket.result().release)
    loads = manager.get_status()["loads"]
    assert isinstance(loads, int)
    elapsed = clock.now() - began
    total = held[0] + (clock.now() - held[1])  # the last request has just come, so the model is held
    cold = loads / requests
    known = math.exp(-pattern.per_hour / HOUR_S * (idle_time_s + REQUEST_S)) if pattern.per_hour else None
    return Outcome(pattern.name, idle_time_s, cold, total / elapsed, known, None if known is None else 1 - known)


def outcomes(requests: int = REQUESTS) -> list[Outcome]:
    """Every pattern with every idle time."""
    return [simulate(pattern, idle_time, requests) for idle_time in IDLE_TIMES_S for pattern in PATTERNS]


def table(found: list[Outcome]) -> str:
    """Markdown: a row for each idle time, a column for each pattern."""
    names = list(dict.fromkeys(outcome.pattern for outcome in found))
    by_place = {(outcome.idle_time_s, outcome.pattern): outcome for outcome in found}
    lines = ["| idle time | " + " | ".join(names) + " |", "|---" * (len(names) + 1) + "|"]
    for idle_time in dict.fromkeys(outcome.idle_time_s for outcome in found):
        cells = [
            f"{outcome.cold_share:.0%} cold, held {outcome.held_share:.0%}"
            for name in names
            for outcome in [by_place[idle_time, name]]
        ]
        lines.append(f"| {idle_time:g} s | " + " | ".join(cells) + " |")
    lines.append("| always on | " + " | ".join(["0% cold, held 100%"] * len(names)) + " |")
    return "\n".join(lines)


def farthest_from_formula(found: list[Outcome]) -> float:
    """The greatest difference between a simulated share and its formula."""
    return max(
        max(abs(outcome.cold_share - outcome.formula_cold_share), abs(outcome.held_share - outcome.formula_held_share))
        for outcome in found
        if outcome.formula_cold_share is not None and outcome.formula_held_share is not None
    )


if __name__ == "__main__":
    print(table(outcomes()))
