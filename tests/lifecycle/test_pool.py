"""Several models and one budget, with time and threads in the test's hands."""

from __future__ import annotations

import json
from typing import Any

import pytest

from editx import ModelPool
from editx.errors import (
    BackingOff,
    Cancelled,
    InvalidRequest,
    LoadFailed,
    ModelCrashed,
    ModelUnloaded,
    NotFound,
    OutOfMemory,
    QueueFull,
    ShuttingDown,
)
from editx.lifecycle import Event, Lease, PoolVariant, Ticket
from tests.lifecycle.simulation import Factory, Jobs, ManualClock


class Rig:
    """A pool of a, b, c with 6, 6 and 3 bytes, its clock, its jobs and what its observer was told."""

    def __init__(self, budget: int | None = 12, variant: dict[str, Any] | None = None, **options: Any) -> None:
        self.clock = ManualClock()
        self.jobs = Jobs()
        self.events: list[Event] = []
        self.settled: list[int] = []
        self.factories = {name: Factory(label=name) for name in "abc"}
        self.pool = ModelPool(
            [
                PoolVariant(name, factory, memory_bytes=need, **{"slots": 2, "idle_timeout": 10, **(variant or {})})
                for (name, factory), need in zip(self.factories.items(), (6, 6, 3), strict=True)
            ],
            budget_bytes=budget,
            clock=self.clock,
            spawn=self.jobs,
            observer=self.events.append,
            settle=lambda: self.settled.append(len(self.events)),
            **options,
        )

    def lease(self, variant: str, keep_alive: float | None = None) -> Lease[Any]:
        ticket = self.pool.request(variant, keep_alive)
        self.jobs.run_all()
        return ticket.result(0)

    def use(self, variant: str) -> None:
        self.clock.advance(1)
        self.lease(variant).release()

    @property
    def loaded(self) -> str:
        return "".join(name for name in self.factories if self.pool.is_loaded(name))

    def state(self, variant: str) -> Any:
        return self.pool.status()[variant]["state"]

    def happened(self, *kinds: str) -> list[tuple[str, str]]:
        return [(event.kind, event.name) for event in self.events if event.kind in kinds]


def failure(ticket: Ticket[Any]) -> Exception:
    assert ticket.error is not None
    return ticket.error


# The budget.


def test_variants_share_the_budget_while_they_fit() -> None:
    rig = Rig()
    rig.use("a")
    rig.use("b")
    assert rig.loaded == "ab"


def test_the_least_recently_used_idle_variant_makes_room() -> None:
    rig = Rig()
    for name in "aba":
        rig.use(name)
    rig.use("c")
    assert rig.loaded == "ac"
    assert [event.reason for event in rig.events if event.kind == "unloaded"] == ["evicted"]


def test_an_eviction_is_complete_before_the_load_begins() -> None:
    rig = Rig(budget=6, variant={"uses_gpu": True})
    rig.use("a")
    ticket = rig.pool.request("b")
    assert rig.state("a") == "unloading"
    assert rig.state("b") == "unloaded"
    rig.jobs.run()
    assert rig.factories["a"].made[0].closed == 1
    assert len(rig.settled) == 1
    assert rig.state("b") == "loading"
    rig.jobs.run_all()
    assert ticket.result(0).held
    order = rig.happened("loading", "unloaded")
    assert order == [("loading", "a"), ("unloaded", "a"), ("loading", "b")]


def test_memory_settles_only_after_what_used_the_gpu() -> None:
    rig = Rig(budget=6)
    rig.use("a")
    rig.use("b")
    assert rig.settled == []


def test_with_everything_leased_a_request_waits_its_turn() -> None:
    rig = Rig()
    a, b = rig.lease("a"), rig.lease("b")
    ticket = rig.pool.request("c")
    assert not rig.jobs.waiting
    assert ticket.position == 0
    assert rig.pool.status()["c"]["queued"] == 1
    b.release()
    rig.jobs.run_all()
    assert ticket.result(0).held
    assert rig.loaded == "ac"
    assert a.held


def test_a_request_that_waits_for_memory_is_not_overtaken() -> None:
    rig = Rig()
    a, b = rig.lease("a"), rig.lease("b")
    waits = rig.pool.request("c")
    behind = rig.pool.request("a")
    assert behind.position == 1
    assert not behind.done  # although a has a free slot
    a.release()
    rig.jobs.run_all()
    assert waits.result(0).held
    assert not behind.done
    b.release()
    rig.jobs.run_all()
    assert behind.result(0).held


def test_a_request_that_waits_for_a_slot_is_overtaken_by_other_variants() -> None:
    rig = Rig()
    held = [rig.lease("a"), rig.lease("a")]
    waits = rig.pool.request("a")
    assert rig.lease("b").held
    assert not waits.done
    held[1].release()
    assert waits.result(0).held


def test_slots_are_never_exceeded_and_are_filled_in_order() -> None:
    rig = Rig()
    tickets = [rig.pool.request("a") for _ in range(6)]
    rig.jobs.run_all()
    for done in range(6):
        held = [ticket for ticket in tickets if ticket.lease is not None and ticket.lease.held]
        assert held == tickets[done : done + 2]
        tickets[done].result(0).release()
    assert rig.factories["a"].calls == 1


def test_a_maximum_of_loaded_models_is_kept() -> None:
    rig = Rig(budget=None, max_loaded=1)
    for name in "abcab":
        rig.use(name)
        assert rig.loaded == name
    assert all(model.closed for factory in rig.factories.values() for model in factory.made[:-1])


def test_without_limits_everything_may_be_loaded() -> None:
    rig = Rig(budget=None)
    for name in "abc":
        rig.use(name)
    assert rig.loaded == "abc"


def test_a_variant_bigger_than_the_budget_is_refused_with_numbers_and_a_remedy() -> None:
    gib = 1 << 30
    pool = ModelPool([PoolVariant("huge", object, memory_bytes=24 * gib)], budget_bytes=16 * gib)
    with pytest.raises(OutOfMemory, match=r"24\.00 GiB.*16\.00 GiB.*raise the budget"):
        pool.request("huge")
    assert pool.shutdown()


def test_a_measured_peak_replaces_the_estimate() -> None:
    rig = Rig()
    rig.use("a")
    rig.use("c")
    rig.pool.record_peak("c", 5)
    rig.pool.record_peak("c", 4)
    assert rig.pool.status()["c"]["memory_bytes"] == 5
    rig.use("a")
    rig.use("b")  # 6 + 5 + 6 do not fit, 6 + 6 do
    assert rig.loaded == "ab"
    rig.pool.record_peak("a", 2)
    rig.pool.record_peak("b", 2)
    rig.use("c")
    assert rig.loaded == "abc"


def test_what_took_more_than_the_budget_runs_alone() -> None:
    rig = Rig()
    with rig.lease("c"):
        rig.pool.record_peak("c", 13)
    assert rig.pool.status()["c"]["memory_bytes"] == 12
    assert rig.pool.misfit("c") == ""
    a = rig.lease("a")
    assert rig.loaded == "a"
    ticket, behind = rig.pool.request("c"), rig.pool.request("b")
    a.release()
    rig.jobs.run_all()
    assert rig.loaded == "c"
    ticket.result(0).release()
    rig.jobs.run_all()
    assert rig.loaded == "b"
    assert behind.result(0).held


def test_a_belief_beyond_the_budget_makes_a_misfit() -> None:
    rig = Rig(budget=5)
    assert "believed to take" in rig.pool.misfit("a")
    assert rig.pool.misfit("c") == ""
    with pytest.raises(OutOfMemory, match="believed to take"):
        rig.pool.request("a")


def test_a_cancelled_request_lets_those_behind_it_go() -> None:
    rig = Rig()
    a, _ = rig.lease("a"), rig.lease("b")
    waits, behind = rig.pool.request("c"), rig.pool.request("a")
    assert waits.cancel()
    assert behind.result(0).held
    assert a.held


# Admission.


def test_a_full_queue_refuses_before_anything_is_loaded() -> None:
    rig = Rig(queue_size=3)
    tickets = [rig.pool.request("a") for _ in range(3)]
    for ask in (lambda: rig.pool.request("b"), lambda: rig.pool.lease("b"), rig.pool.admit):
        with pytest.raises(QueueFull, match="3 requests are waiting") as caught:
            ask()
        assert caught.value.retry_after_s is not None
        assert 1 <= caught.value.retry_after_s <= 60
    assert rig.factories["b"].calls == 0
    assert len(rig.jobs.waiting) == 1
    rig.jobs.run_all()
    assert [ticket.done for ticket in tickets] == [True, True, False]
    rig.pool.admit()
    assert rig.lease("b").held


def test_a_request_that_need_not_wait_is_not_refused() -> None:
    rig = Rig(queue_size=1)
    rig.use("a")
    leases = [rig.pool.lease("a"), rig.pool.lease("a")]
    assert all(lease.held for lease in leases)


def test_the_time_to_ask_again_follows_how_long_leases_are_held() -> None:
    rig = Rig(queue_size=2, variant={"slots": 1})
    for _ in range(30):
        lease = rig.lease("a")
        rig.clock.advance(30)
        lease.release()
    rig.lease("a")
    rig.pool.request("a"), rig.pool.request("a")
    with pytest.raises(QueueFull) as caught:
        rig.pool.request("a")
    assert caught.value.retry_after_s == pytest.approx(2 * 30 / 3, rel=0.1)


def test_an_unknown_variant_is_answered_with_the_known_ones() -> None:
    rig = Rig()
    for ask in (rig.pool.request, rig.pool.lease, rig.pool.load, rig.pool.unload, rig.pool.is_loaded):
        with pytest.raises(NotFound, match="no variant 'x'; known are: a, b, c") as caught:
            ask("x")
        assert caught.value.param == "variant"


# Failures.


def test_a_failed_load_fails_its_own_waiters_only() -> None:
    rig = Rig()
    rig.factories["a"].failures.append(RuntimeError("bad weights"))
    bad, good = [rig.pool.request("a") for _ in range(3)], rig.pool.request("b")
    rig.jobs.run_all()
    assert all(isinstance(failure(ticket), LoadFailed) for ticket in bad)
    assert good.result(0).held
    assert rig.lease("a").held


def test_out_of_memory_at_load_evicts_everything_idle_and_retries_once() -> None:
    rig = Rig(budget=100)
    rig.use("a")
    rig.use("b")
    rig.factories["c"].failures.append(OutOfMemory("CUDA out of memory"))
    ticket = rig.pool.request("c")
    rig.jobs.run_all()
    assert ticket.result(0).held
    assert rig.factories["c"].calls == 2
    assert rig.loaded == "c"
    assert rig.happened("loading", "load_failed", "unloaded", "ready")[-6:] == [
        ("loading", "c"), ("load_failed", "c"), ("unloaded", "a"), ("unloaded", "b"), ("loading", "c"), ("ready", "c"),
    ]  # fmt: skip


def test_out_of_memory_twice_fails_the_request_and_spares_what_is_leased() -> None:
    rig = Rig(budget=100)
    held = rig.lease("a")
    rig.use("b")
    rig.factories["c"].failures += [OutOfMemory("no"), OutOfMemory("still no")]
    ticket = rig.pool.request("c")
    rig.jobs.run_all()
    assert str(failure(ticket)) == "still no"
    assert isinstance(ticket.error, OutOfMemory)
    assert rig.factories["c"].calls == 2
    assert rig.loaded == "a"
    assert held.held
    rig.factories["c"].failures += [OutOfMemory("no")]
    assert rig.lease("c").held


def test_out_of_memory_for_nobody_is_not_retried() -> None:
    rig = Rig()
    rig.use("a")
    rig.factories["c"].failures.append(OutOfMemory("no"))
    rig.pool.request("c").cancel()
    rig.jobs.run_all()
    assert rig.factories["c"].calls == 1
    assert rig.loaded == "a"


def test_a_retry_nobody_waits_for_any_more_is_forgotten() -> None:
    rig = Rig(budget=100)
    rig.use("a")
    rig.factories["c"].failures.append(OutOfMemory("no"))
    ticket = rig.pool.request("c")
    rig.jobs.run()
    assert rig.state("a") == "unloading"
    ticket.cancel()
    rig.jobs.run_all()
    rig.use("a")
    rig.use("c")
    assert rig.loaded == "ac"


def test_a_crash_backs_off_without_holding_up_the_others() -> None:
    rig = Rig()
    for _ in range(2):
        rig.lease("a")
        rig.factories["a"].made[-1].die(ModelCrashed("bang"))
        rig.jobs.run_all()
    waits = rig.pool.request("a")
    assert rig.lease("b").held
    assert not waits.done
    rig.clock.advance(1)
    rig.jobs.run_all()
    assert waits.result(0).held


def test_those_who_wait_for_a_slot_of_what_keeps_crashing_are_told() -> None:
    rig = Rig(variant={"slots": 1})
    tickets = []
    for _ in range(7):
        while wait := rig.pool.status()["a"]["retry_in"]:
            rig.clock.advance(wait)
        tickets = [rig.pool.request("a"), rig.pool.request("a")]
        rig.jobs.run_all()
        assert tickets[0].result(0).held
        rig.factories["a"].made[-1].die(ModelCrashed("bang"))
        for ticket in tickets:
            if not ticket.done:
                ticket.cancel()
        rig.jobs.run_all()
    assert isinstance(failure(tickets[1]), BackingOff)
    with pytest.raises(BackingOff):
        rig.pool.request("a")
    assert rig.lease("b").held


# Loading and unloading by hand.


def test_a_load_by_hand_ends_with_the_idle_clock_started() -> None:
    rig = Rig()
    ticket = rig.pool.request_load("a")
    rig.jobs.run_all()
    assert not ticket.result(0).held
    assert rig.pool.status()["a"]["leases"] == 0
    assert rig.pool.status()["a"]["time_until_unload"] == 10
    rig.clock.advance(9)
    rig.pool.load("a")
    rig.clock.advance(9)
    assert rig.loaded == "a"
    rig.clock.advance(1)
    assert rig.loaded == ""


def test_a_load_by_hand_does_not_wait_for_a_slot() -> None:
    rig = Rig(variant={"slots": 1})
    first, wake = rig.pool.request("a"), rig.pool.request_load("a")
    rig.jobs.run_all()
    assert first.result(0).held
    assert wake.result(0).generation == 1
    rig.pool.load("a")


def test_a_load_by_hand_can_fail() -> None:
    rig = Rig()
    rig.factories["a"].failures.append(RuntimeError("bad weights"))
    ticket = rig.pool.request_load("a")
    rig.jobs.run_all()
    assert isinstance(failure(ticket), LoadFailed)


def test_an_unload_by_hand_drains_one_variant() -> None:
    rig = Rig()
    a, b = rig.lease("a"), rig.lease("b")
    assert rig.pool.unload("a", timeout=0) is False
    queued = rig.pool.request("a")
    a.release()
    rig.jobs.run_all()
    assert queued.result(0).generation == 2
    assert rig.pool.unload("b", now=True, timeout=0) is False
    assert b.revoked
    rig.jobs.run_all()
    assert rig.pool.unload("b") is True
    assert rig.loaded == "a"


def test_unload_now_leaves_queued_requests_a_fresh_load() -> None:
    rig = Rig(variant={"slots": 1})
    lost, queued = rig.lease("a"), rig.pool.request("a")
    rig.pool.unload("a", now=True, timeout=0)
    rig.jobs.run_all()
    assert isinstance(lost.error, ModelUnloaded)
    assert queued.result(0).generation == 2


def test_signs_of_life_belong_to_their_variant() -> None:
    rig = Rig(variant={"load_timeout": 5})
    a, b = rig.pool.request("a"), rig.pool.request("b")
    rig.clock.advance(4)
    rig.pool.sign_of_life("a", "weights", 0.5)
    rig.clock.advance(4)
    assert not a.done
    assert isinstance(failure(b), LoadFailed)
    assert rig.pool.status()["a"]["load_fraction"] == 0.5


def test_an_idle_variant_is_unloaded_by_itself() -> None:
    rig = Rig()
    rig.use("a")
    rig.clock.advance(5)
    rig.use("b")
    rig.clock.advance(5)
    assert rig.loaded == "b"


def test_giving_up_a_granted_ticket_tells_whoever_still_wants_the_lease() -> None:
    rig = Rig()
    ticket = rig.pool.request("a")
    rig.jobs.run_all()
    ticket.cancel()
    with pytest.raises(Cancelled):
        _ = ticket.result(0).model


# The end.


def test_shutdown_closes_all_and_answers_all() -> None:
    rig = Rig()
    a, _ = rig.lease("a"), rig.lease("b")
    waits = rig.pool.request("c")
    assert rig.pool.shutdown(timeout=0) is False
    assert isinstance(failure(waits), ShuttingDown)
    assert isinstance(a.error, ShuttingDown)
    rig.jobs.run_all()
    assert rig.pool.shutdown() is True
    assert rig.pool.shutdown() is True
    assert rig.loaded == ""
    assert rig.clock.armed == 0
    for ask in (rig.pool.request, rig.pool.lease, rig.pool.load):
        with pytest.raises(ShuttingDown):
            ask("a")
    with pytest.raises(ShuttingDown):
        rig.pool.admit()


def test_the_status_is_plain_data_for_every_variant() -> None:
    rig = Rig()
    rig.use("a")
    status = rig.pool.status()
    assert json.loads(json.dumps(status)) == status
    assert {name: row["state"] for name, row in status.items()} == {"a": "ready", "b": "unloaded", "c": "unloaded"}
    assert {row["memory_bytes"] for row in status.values()} == {6, 3}


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"budget_bytes": 0}, "budget_bytes"),
        ({"budget_bytes": 1.5}, "budget_bytes"),
        ({"max_loaded": 0}, "max_loaded"),
        ({"queue_size": 0}, "queue_size"),
        ({"queue_size": True}, "queue_size"),
    ],
)
def test_limits_that_make_no_sense_are_refused(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        ModelPool([PoolVariant("a", object)], **options)
    assert caught.value.param == param


@pytest.mark.parametrize(
    ("options", "param"),
    [({"memory_bytes": -1}, "memory_bytes"), ({"slots": 0}, "slots"), ({"factory": None}, "factory")],
)
def test_variants_that_make_no_sense_are_refused(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        PoolVariant(**{"name": "a", "factory": object, **options})
    assert caught.value.param == param


def test_two_variants_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="two variants are called 'a'"):
        ModelPool([PoolVariant("a", object), PoolVariant("a", object)])
