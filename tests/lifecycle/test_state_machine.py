"""Everything that can happen to a pool, in any order, one step at a time, with invariants after each step."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from editx import ModelPool
from editx.errors import BackingOff, ModelCrashed, OutOfMemory, QueueFull
from editx.lifecycle import Event, PoolVariant, Ticket
from tests.lifecycle.simulation import Factory, Jobs, KillableModel, ManualClock, Model

NEEDS = {"a": 6, "b": 6, "c": 3}
BUDGET = 12
SLOTS = 2
QUEUE = 8
DRAIN_S = 30.0
variants = st.sampled_from(sorted(NEEDS))
indices = st.integers(0, 10**6)

FOLLOWS = {
    None: {"loading"},
    "loading": {"progress", "ready", "load_failed", "unloading"},
    "progress": {"progress", "ready", "load_failed", "unloading"},
    "load_failed": {"loading", "unloading"},
    "ready": {"unloading", "crashed"},
    "crashed": {"unloading", "unloaded"},
    "unloading": {"unloaded", "crashed"},
    "unloaded": {"loading"},
}


class PoolMachine(RuleBasedStateMachine):
    """No job hangs for longer than a deadline here, so that the limits hold without exception."""

    close_timeout = 1e9
    load_timeout: float | None = None

    def __init__(self) -> None:
        super().__init__()
        self.clock = ManualClock()
        self.jobs = Jobs()
        self.events: list[Event] = []
        self.factories = {name: Factory(KillableModel, name) for name in NEEDS}
        self.asked: dict[str, list[Ticket[Any]]] = {name: [] for name in NEEDS}
        self.models: dict[int, Model] = {}
        self.may_lose: set[int] = set()
        self.pool: ModelPool[Model] = ModelPool(
            [
                PoolVariant(
                    name,
                    factory,
                    memory_bytes=NEEDS[name],
                    slots=SLOTS,
                    idle_timeout=10,
                    drain_timeout=DRAIN_S,
                    close_timeout=self.close_timeout,
                    load_timeout=self.load_timeout,
                )
                for name, factory in self.factories.items()
            ],
            budget_bytes=BUDGET,
            queue_size=QUEUE,
            clock=self.clock,
            spawn=self.jobs,
            observer=self.events.append,
        )

    # What the test knows without asking the pool.

    def tickets(self) -> list[Ticket[Any]]:
        return [ticket for tickets in self.asked.values() for ticket in tickets]

    def held(self) -> list[tuple[str, Ticket[Any]]]:
        return [
            (name, ticket)
            for name, tickets in self.asked.items()
            for ticket in tickets
            if ticket.lease is not None and ticket.lease.held
        ]

    def live(self, variant: str) -> list[Model]:
        return [model for model in self.factories[variant].made if not model.closed]

    def lose(self, variant: str) -> None:
        """From here on the leases on this variant may be revoked."""
        self.may_lose.update(id(ticket) for name, ticket in self.held() if name == variant)

    def draining(self) -> list[str]:
        return [name for name, row in self.pool.status().items() if row["state"] == "unloading" and row["leases"]]

    # What can happen.

    @rule(variant=variants, keep_alive=st.sampled_from([None, None, 0, 3, -1]))
    def request(self, variant: str, keep_alive: float | None) -> None:
        try:
            self.asked[variant].append(self.pool.request(variant, keep_alive))
        except QueueFull:
            assert sum(not ticket.done for ticket in self.tickets()) == QUEUE
        except BackingOff:
            assert self.pool.status()[variant]["crashes"] >= 7

    @rule(variant=variants)
    def request_load(self, variant: str) -> None:
        try:
            self.asked[variant].append(self.pool.request_load(variant))
        except (QueueFull, BackingOff):
            assert self.pool.status()[variant]["state"] != "ready"

    @precondition(lambda self: self.jobs.waiting)
    @rule(index=indices)
    def a_job_runs(self, index: int) -> None:
        self.jobs.run(index % len(self.jobs.waiting))

    @rule()
    def all_jobs_run(self) -> None:
        self.jobs.run_all()

    @precondition(lambda self: self.held())
    @rule(index=indices)
    def release(self, index: int) -> None:
        held = self.held()
        _, ticket = held[index % len(held)]
        assert ticket.lease is not None
        ticket.lease.release()

    @precondition(lambda self: self.tickets())
    @rule(index=indices)
    def release_again_or_late(self, index: int) -> None:
        tickets = [ticket for ticket in self.tickets() if ticket.lease is not None and not ticket.lease.held]
        if tickets:
            before = self.pool.status()
            lease = tickets[index % len(tickets)].lease
            assert lease is not None
            lease.release()
            assert self.pool.status() == before

    @precondition(lambda self: any(not ticket.done for ticket in self.tickets()))
    @rule(index=indices)
    def a_waiter_gives_up(self, index: int) -> None:
        waiting = [ticket for ticket in self.tickets() if not ticket.done]
        ticket = waiting[index % len(waiting)]
        assert ticket.cancel()
        assert ticket.error is not None

    @precondition(lambda self: self.held())
    @rule(index=indices)
    def a_holder_gives_up(self, index: int) -> None:
        held = self.held()
        _, ticket = held[index % len(held)]
        self.may_lose.add(id(ticket))
        assert ticket.cancel()

    @rule(variant=variants)
    def unload(self, variant: str) -> None:
        self.pool.unload(variant, timeout=0)

    @rule(variant=variants)
    def unload_now(self, variant: str) -> None:
        self.lose(variant)
        self.pool.unload(variant, now=True, timeout=0)
        assert self.pool.status()[variant]["leases"] == 0

    @rule(variant=variants, error=st.sampled_from([RuntimeError("bad"), OutOfMemory("full"), ModelCrashed("exit 1")]))
    def the_next_load_will_fail(self, variant: str, error: Exception) -> None:
        if len(self.factories[variant].failures) < 2:
            self.factories[variant].failures.append(error)

    @rule(variant=variants)
    def a_model_dies(self, variant: str) -> None:
        for model in self.live(variant):
            self.lose(variant)
            model.die(ModelCrashed(f"{variant} died"))

    @rule(variant=variants, fraction=st.floats(0, 1))
    def a_sign_of_life(self, variant: str, fraction: float) -> None:
        self.pool.sign_of_life(variant, "weights", fraction)

    @rule(variant=variants)
    def a_peak_is_measured(self, variant: str) -> None:
        self.pool.record_peak(variant, NEEDS[variant])

    @rule(seconds=st.sampled_from([0.5, 1, 5, 9, 10, 11, 40]))
    def time_passes(self, seconds: float) -> None:
        for variant in self.draining():
            self.lose(variant)  # its drain deadline may pass
        self.clock.advance(seconds)

    @rule(times=st.integers(1, 2))
    def timers_go_off_early(self, times: int) -> None:
        self.clock.fire_early(times)

    # What must hold after each of them.

    @invariant()
    def there_are_never_two_instances_of_one_variant(self) -> None:
        for variant in NEEDS:
            assert len(self.live(variant)) <= 1

    @invariant()
    def the_budget_is_kept(self) -> None:
        assert sum(NEEDS[variant] for variant in NEEDS if self.live(variant)) <= BUDGET
        rows = self.pool.status().items()
        assert sum(NEEDS[name] for name, row in rows if row["state"] != "unloaded") <= BUDGET

    @invariant()
    def nothing_is_closed_while_it_is_leased(self) -> None:
        for _, ticket in self.held():
            assert ticket.lease is not None
            assert ticket.lease.model.closed == 0

    @invariant()
    def only_what_may_be_lost_is_revoked(self) -> None:
        for ticket in self.tickets():
            if ticket.lease is not None and ticket.lease.revoked:
                assert id(ticket) in self.may_lose

    @invariant()
    def slots_are_kept_and_leases_are_counted(self) -> None:
        held = [name for name, _ in self.held()]
        for name, row in self.pool.status().items():
            assert row["leases"] == held.count(name) <= SLOTS
            assert row["queued"] == sum(not ticket.done for ticket in self.asked[name])

    @invariant()
    def the_queue_is_bounded_and_in_order(self) -> None:
        waiting = [ticket for ticket in self.tickets() if not ticket.done]
        assert len(waiting) <= QUEUE
        assert {ticket.position for ticket in waiting} == set(range(len(waiting)))

    @invariant()
    def nobody_is_served_before_an_earlier_request_for_the_same_variant(self) -> None:
        for tickets in self.asked.values():
            ordinary = [ticket for ticket in tickets if not ticket.wake]
            first_waiting = next((place for place, ticket in enumerate(ordinary) if not ticket.done), len(ordinary))
            assert all(ticket.lease is None for ticket in ordinary[first_waiting:])

    @invariant()
    def loaded_means_that_there_is_a_model(self) -> None:
        for name, row in self.pool.status().items():
            assert self.pool.is_loaded(name) == row["loaded"] == (row["state"] == "ready")
            if row["loaded"]:
                assert len(self.live(name)) == 1

    @invariant()
    def a_ticket_has_one_answer(self) -> None:
        for ticket in self.tickets():
            assert ticket.lease is None or ticket.error is None
            assert ticket.done == (ticket.position is None)

    @invariant()
    def an_idle_model_has_a_timer_unless_it_is_kept(self) -> None:
        rows = self.pool.status().values()
        if any(row["time_until_unload"] is not None for row in rows):
            assert self.clock.armed

    # How it ends.

    def settle_down(self) -> None:
        """Time passes, jobs end, leases are given back: nothing but that, and everybody is answered."""
        for _ in range(10 + 2 * len(self.tickets())):
            self.jobs.run_all()
            for _, ticket in self.held():
                assert ticket.lease is not None
                ticket.lease.release()
            self.jobs.run_all()
            self.clock.advance(5)
        assert [ticket for ticket in self.tickets() if not ticket.done] == []

    def teardown(self) -> None:
        self.settle_down()
        last = [self.pool.request(name) for name in NEEDS if not self.pool.status()[name]["retry_in"]]
        self.pool.shutdown(timeout=0)
        self.jobs.run_all()
        assert self.pool.shutdown(timeout=0)
        assert all(ticket.done for ticket in last)
        assert self.clock.armed == 0
        assert self.jobs.waiting == []
        self.everything_is_closed()
        for name in NEEDS:
            kinds = [event.kind for event in self.events if event.name == name]
            state: str | None = None
            for kind in kinds:
                if kind in FOLLOWS:
                    assert kind in FOLLOWS[state], f"{kind} after {state}"
                    state = kind
            assert kinds.count("lease") == kinds.count("release") + kinds.count("revoked")
            row = self.pool.status()[name]
            assert row["loads"] == row["unloads"] == kinds.count("ready")

    def everything_is_closed(self) -> None:
        for factory in self.factories.values():
            assert [model.closed for model in factory.made] == [1] * len(factory.made)


class HangingPoolMachine(PoolMachine):
    """Loads and closes may take longer than their deadlines: then limits on memory cannot hold, and all else must."""

    close_timeout = 4.0
    load_timeout = 4.0

    @invariant()
    def there_are_never_two_instances_of_one_variant(self) -> None:
        pass

    @invariant()
    def the_budget_is_kept(self) -> None:
        rows = self.pool.status().items()
        assert sum(NEEDS[name] for name, row in rows if row["state"] != "unloaded") <= BUDGET

    @invariant()
    def loaded_means_that_there_is_a_model(self) -> None:
        for name, row in self.pool.status().items():
            assert not row["loaded"] or self.live(name)

    def everything_is_closed(self) -> None:
        for factory in self.factories.values():
            for model in factory.made:
                assert isinstance(model, KillableModel)
                assert model.closed or model.killed


limits = settings(max_examples=100, stateful_step_count=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
TestPool = PoolMachine.TestCase
TestPool.settings = limits
TestHangingPool = HangingPoolMachine.TestCase
TestHangingPool.settings = limits
