"""Who is served next, who has to go, and how long a crashing model is left alone: pure functions of a snapshot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from editx.lifecycle.states import State

MAX_BACKOFF_S = 300.0


def backoff_delay(crashes: int) -> float:
    """Seconds to leave a model alone after so many crashes in a row: 0, 1, 1, 2, 3, 5, 8, …, at most 300."""
    delay, following = 0, 1
    for _ in range(crashes - 1):
        if delay >= MAX_BACKOFF_S:
            break
        delay, following = following, delay + following
    return min(float(delay), MAX_BACKOFF_S)


def retry_after(waiting: int, slots: int, hold_s: float) -> float:
    """When somebody turned away should ask again: the time the queue takes to drain, within 1 to 60 seconds."""
    return min(max(waiting * hold_s / max(slots, 1), 1.0), 60.0)


@dataclass(frozen=True, slots=True)
class VariantView:
    """One variant as the scheduler sees it.

    `need`: bytes of the budget it takes from the start of its load to the end of its unload. `last_used`: clock time.
    `backing_off`: it crashed and may not be loaded yet. `after_oom`: its last load ran out of memory, so the next one
    is to find nothing idle in memory.
    """

    state: State
    need: int = 0
    slots: int = 1
    leases: int = 0
    last_used: float = 0.0
    backing_off: bool = False
    after_oom: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All variants by name, and the variant each waiting request wants, in arrival order. None is no limit."""

    variants: Mapping[str, VariantView]
    queue: Sequence[str]
    budget: int | None = None
    max_loaded: int | None = None


@dataclass(slots=True)
class Decision:
    """`grants` and `refusals` are positions in the queue (refused: fits at no time), the others are variants."""

    grants: list[int] = field(default_factory=list)
    refusals: list[int] = field(default_factory=list)
    loads: list[str] = field(default_factory=list)
    evictions: list[str] = field(default_factory=list)


def decide(snapshot: Snapshot) -> Decision:
    """What to do now, in arrival order.

    A request that waits for a slot, a load, an unload or a backoff of its variant holds up later requests for that
    variant only. A request that waits for memory holds up everything behind it: a stream of requests for what is loaded
    would starve it otherwise.
    """
    decision = Decision()
    views = snapshot.variants
    leases = {name: view.leases for name, view in views.items()}
    held = {name: view.need for name, view in views.items() if view.state is not State.UNLOADED}
    stuck: set[str] = set()
    for position, name in enumerate(snapshot.queue):
        view = views[name]
        if name in stuck:
            continue
        if view.state is State.READY and leases[name] < view.slots:
            leases[name] += 1
            decision.grants.append(position)
        elif view.state is not State.UNLOADED or view.backing_off:
            stuck.add(name)
        elif not fits(snapshot, {}, view.need):
            decision.refusals.append(position)
        elif not view.after_oom and fits(snapshot, held, view.need):
            held[name] = view.need
            decision.loads.append(name)
            stuck.add(name)
        else:
            idle = sorted(
                (other for other in held if views[other].state is State.READY and not leases[other]),
                key=lambda other: views[other].last_used,
            )
            leaving = {other for other in held if views[other].state is State.UNLOADING}
            if not view.after_oom:
                staying = {other: need for other, need in held.items() if other not in leaving}
                decision.evictions = victims(snapshot, staying, idle, view.need)
            elif idle or leaving:
                decision.evictions = idle
            elif fits(snapshot, held, view.need):
                decision.loads.append(name)
            break
    return decision


def fits(snapshot: Snapshot, held: Mapping[str, int], need: int) -> bool:
    """Whether a load of `need` bytes fits beside what is `held`."""
    if snapshot.max_loaded is not None and len(held) >= snapshot.max_loaded:
        return False
    return snapshot.budget is None or sum(held.values()) + need <= snapshot.budget


def victims(snapshot: Snapshot, held: Mapping[str, int], idle: Sequence[str], need: int) -> list[str]:
    """The least recently used of `idle` (given in that order) that make room for `need`; empty if nothing does.

    Whoever turns out to be spared by a bigger victim stays, the most recently used first.
    """
    left = dict(held)
    chosen: list[str] = []
    for name in idle:
        if fits(snapshot, left, need):
            break
        del left[name]
        chosen.append(name)
    if not fits(snapshot, left, need):
        return []
    for name in reversed(chosen.copy()):
        if fits(snapshot, {**left, name: held[name]}, need):
            left[name] = held[name]
            chosen.remove(name)
    return chosen
