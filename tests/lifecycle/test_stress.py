"""Sixty-four threads do everything at once to three models that do not fit together."""

from __future__ import annotations

import random
import threading
from collections import Counter

from editx import ModelPool
from editx.errors import EditXError, ModelCrashed
from editx.lifecycle import Event, PoolVariant
from tests.lifecycle.simulation import Model

THREADS = 64
OPERATIONS = 120
NEEDS = {"a": 6, "b": 6, "c": 3}
BUDGET = 12
SLOTS = 3


class Census:
    """How many instances there are, and the most there have been."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.alive: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.most_bytes = 0
        self.made = 0

    def count(self, variant: str, change: int) -> None:
        with self.lock:
            self.alive[variant] += change
            self.made += change > 0
            self.most[variant] = max(self.most[variant], self.alive[variant])
            self.most_bytes = max(self.most_bytes, sum(NEEDS[name] * count for name, count in self.alive.items()))


class Counted(Model):
    def __init__(self, variant: str, census: Census) -> None:
        super().__init__(variant)
        self.census = census
        self.users = 0
        self.lock = threading.Lock()
        census.count(variant, 1)

    def work(self) -> str:
        with self.lock:
            self.users += 1
            assert self.users <= SLOTS
        try:
            sum(range(500))
            if self.closed:
                raise RuntimeError("used after it was closed")
            return self.label
        finally:
            with self.lock:
                self.users -= 1

    def close(self) -> None:
        super().close()
        self.census.count(self.label, -1)


class Flaky:
    """A factory that fails now and then."""

    def __init__(self, variant: str, census: Census) -> None:
        self.variant = variant
        self.census = census
        self.random = random.Random(variant)

    def __call__(self) -> Counted:
        if self.random.random() < 0.1:
            raise OSError("the disk hiccuped")
        return Counted(self.variant, self.census)


def operate(pool: ModelPool[Counted], dice: random.Random) -> str:
    """One operation; returns how it ended. Anything but a result or a clear error gets out."""
    variant = dice.choice(sorted(NEEDS))
    what = dice.random()
    try:
        if what < 0.60:
            with pool.lease(variant, dice.choice([None, None, 0, -1, 0.01])) as model:
                assert model.work() == variant
            return "used"
        if what < 0.70:
            with pool.lease(variant, timeout=dice.choice([0, 0.001, 0.05])) as model:
                assert model.work() == variant
            return "used"
        if what < 0.78:
            ticket = pool.request(variant)
            if dice.random() < 0.5:
                ticket.cancel()
                return "gave up"
            with ticket.result() as model:
                model.work()
            return "used"
        if what < 0.83:
            pool.load(variant)
            return "loaded"
        if what < 0.84:
            assert pool.unload(variant)
            return "unloaded"
        if what < 0.85:
            assert pool.unload(variant, now=True)
            return "unloaded"
        if what < 0.86:
            with pool.lease(variant) as model:
                model.die(ModelCrashed("killed by a cosmic ray"))
            return "crashed"
        row = pool.status()[variant]
        assert isinstance(row["leases"], int)
        assert 0 <= row["leases"] <= SLOTS
        return "looked"
    except TimeoutError:
        return "timed out"
    except EditXError as error:
        return error.code


def test_everything_at_once() -> None:
    census = Census()
    events: Counter[str] = Counter()
    last: dict[str, int] = {}

    def observer(event: Event) -> None:
        events[event.kind] += 1
        assert event.generation >= last.get(event.name, 0)
        last[event.name] = event.generation

    pool: ModelPool[Counted] = ModelPool(
        [
            PoolVariant(name, Flaky(name, census), memory_bytes=need, slots=SLOTS, idle_timeout=0.02)
            for name, need in NEEDS.items()
        ],
        budget_bytes=BUDGET,
        queue_size=60,
        observer=observer,
    )
    outcomes: Counter[str] = Counter()
    surprises: list[BaseException] = []
    lock = threading.Lock()
    start = threading.Barrier(THREADS)

    def run(seed: int) -> None:
        dice = random.Random(seed)
        start.wait(60)
        for _ in range(OPERATIONS):
            try:
                outcome = operate(pool, dice)
            except BaseException as error:
                surprises.append(error)
                return
            with lock:
                outcomes[outcome] += 1

    workers = [threading.Thread(target=run, args=(seed,)) for seed in range(THREADS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(120)
    assert [worker for worker in workers if worker.is_alive()] == []
    assert surprises == []
    assert sum(outcomes.values()) == THREADS * OPERATIONS
    assert outcomes["used"] > THREADS * OPERATIONS / 4, outcomes

    rows = pool.status()
    assert all(row["leases"] == row["queued"] == 0 for row in rows.values())
    assert pool.shutdown()
    assert [thread.name for thread in threading.enumerate() if thread.name.startswith("editx-pool")] == []
    assert set(census.most.values()) == {1}
    assert census.most_bytes <= BUDGET
    assert sum(census.alive.values()) == 0
    rows = pool.status()
    assert sum(int(str(row["loads"])) for row in rows.values()) == events["ready"]
    assert all(row["loads"] == row["unloads"] for row in rows.values())
    assert events["lease"] == events["release"] + events["revoked"]
    assert events["unloading"] == events["unloaded"]
    assert census.made >= events["ready"]
