"""Several models that share one budget: who is loaded, who waits, who has to go.

    pool = ModelPool([PoolVariant("base", load_base, memory_bytes=9 << 30), …], budget_bytes=16 << 30)
    with pool.lease("base") as model:
        model.run(...)

Who is served and who is evicted is decided by `policy.decide`; each model's life is told in `machine`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Generic, TypeVar

from editx.errors import InvalidRequest, NotFound, OutOfMemory, QueueFull, ShuttingDown
from editx.lifecycle.clock import Clock, MonotonicClock
from editx.lifecycle.events import Observer
from editx.lifecycle.limits import Limits, keep_seconds
from editx.lifecycle.machine import Machine
from editx.lifecycle.manager import JOIN_S, wait, wait_unloaded
from editx.lifecycle.monitor import Monitor
from editx.lifecycle.policy import Snapshot, VariantView, decide, retry_after
from editx.lifecycle.states import State
from editx.lifecycle.threads import Spawn, Threads
from editx.lifecycle.ticket import Lease, Ticket

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class PoolVariant(Generic[T]):
    """One model of a pool.

    `memory_bytes`: what it takes of the budget until a peak was measured (`ModelPool.record_peak`); 0 for a model that
    takes none of it. `slots`: leases at once. `uses_gpu`: the pool's `settle` runs after it was closed. The rest is as
    for `LazyModelManager`.
    """

    name: str
    factory: Callable[[], T]
    memory_bytes: int = 0
    slots: int = 1
    uses_gpu: bool = False
    idle_timeout: float | None = 300.0
    auto_unload: bool = True
    load_timeout: float | None = None
    drain_timeout: float = 30.0
    close_timeout: float = 10.0

    def __post_init__(self) -> None:
        if not callable(self.factory):
            raise InvalidRequest(f"the factory of {self.name} must be callable, not {self.factory!r}", param="factory")
        _at_least(0, self.memory_bytes, "memory_bytes")
        _at_least(1, self.slots, "slots")

    @property
    def limits(self) -> Limits:
        return Limits(self.idle_timeout, self.auto_unload, self.load_timeout, self.drain_timeout, self.close_timeout)


class ModelPool(Generic[T]):
    """Loads variants on demand within `budget_bytes` and `max_loaded`, and evicts idle ones to make room.

    All methods may be called from any thread. Requests are served in arrival order (`policy.decide`); at most
    `queue_size` wait. `settle` runs after a variant that uses the GPU was closed and before its memory is given out
    again. None is no limit. Raises InvalidRequest for arguments that make no sense.
    """

    retries_out_of_memory = True

    def __init__(
        self,
        variants: Iterable[PoolVariant[T]],
        *,
        budget_bytes: int | None = None,
        max_loaded: int | None = None,
        queue_size: int = 64,
        clock: Clock | None = None,
        spawn: Spawn | None = None,
        observer: Observer | None = None,
        settle: Callable[[], object] | None = None,
    ) -> None:
        if budget_bytes is not None:
            _at_least(1, budget_bytes, "budget_bytes")
        if max_loaded is not None:
            _at_least(1, max_loaded, "max_loaded")
        _at_least(1, queue_size, "queue_size")
        self.monitor = Monitor()
        self.queue: dict[Ticket[Any], None] = {}
        self._budget = budget_bytes
        self._max_loaded = max_loaded
        self._queue_size = queue_size
        # Neither has a thread before there is something to do; a clock or spawn of the caller's is the caller's to end.
        self._clock = MonotonicClock("editx-pool-clock")
        self._threads = Threads("editx-pool")
        self._variants: dict[str, PoolVariant[T]] = {}
        self._machines: dict[str, Machine[T]] = {}
        self._peaks: dict[str, int] = {}
        for variant in variants:
            if variant.name in self._variants:
                raise InvalidRequest(f"two variants are called {variant.name!r}", param="variants")
            self._variants[variant.name] = variant
            self._machines[variant.name] = Machine(
                variant.factory,
                variant.limits,
                name=variant.name,
                scheduler=self,
                clock=clock or self._clock,
                spawn=spawn or self._threads,
                observer=observer,
                settle=settle if variant.uses_gpu else None,
            )

    def lease(self, variant: str, keep_alive: float | None = None, timeout: float | None = None) -> Lease[T]:
        """The right to use a variant, for a `with` statement; waits its turn, a load, and room for it.

        `keep_alive` replaces the idle timeout after this use: seconds, 0 unloads on release, negative keeps the model.
        `timeout` limits the wait. Raises TimeoutError then, what `request` raises, and what a ticket fails with:
        LoadFailed, OutOfMemory, ModelCrashed, BackingOff, ModelUnloaded, ShuttingDown.
        """
        machine = self._machine(variant)
        keep = machine.default_keep if keep_alive is None else keep_seconds(keep_alive, "keep_alive")
        with self.monitor:
            if self._is_free(machine):
                return machine.take(keep)
            ticket = self._ask(machine, keep)
        return wait(ticket, timeout)

    def request(self, variant: str, keep_alive: float | None = None) -> Ticket[T]:
        """Ask for a lease without waiting. Raises what can be told at once: NotFound, QueueFull, BackingOff,
        OutOfMemory if the variant is bigger than the whole budget, ShuttingDown."""
        machine = self._machine(variant)
        keep = machine.default_keep if keep_alive is None else keep_seconds(keep_alive, "keep_alive")
        with self.monitor:
            return machine.taken(keep) if self._is_free(machine) else self._ask(machine, keep)

    def request_load(self, variant: str) -> Ticket[T]:
        """Ask for a variant to be loaded, ahead of its first use; its idle clock (re)starts. The ticket is granted once
        it is ready, with a lease that is given back already. Raises as `request` does."""
        machine = self._machine(variant)
        with self.monitor:
            if machine.state is State.READY:
                return machine.touched()
            return self._ask(machine, None, wake=True)

    def load(self, variant: str, timeout: float | None = None) -> None:
        """Load a variant and wait until it is ready. Raises as `lease` does."""
        wait(self.request_load(variant), timeout)

    def unload(self, variant: str, now: bool = False, timeout: float | None = None) -> bool:
        """Unload a variant, as `LazyModelManager.force_unload` does. Returns whether it is gone. Raises NotFound."""
        machine = self._machine(variant)
        with self.monitor:
            generation = machine.generation
            machine.unload("forced", now=now)
        return wait_unloaded(machine, generation, timeout)

    def sign_of_life(self, variant: str, stage: str | None = None, fraction: float | None = None) -> None:
        """For a factory: the load of its variant is getting on."""
        self._machine(variant).sign_of_life(stage, fraction)

    def record_peak(self, variant: str, peak_bytes: int) -> None:
        """Budget with what a variant was measured to take; the highest measurement counts.

        What took more than the whole budget has served all the same: it is given all of it, and runs alone from then
        on. Raises NotFound.
        """
        machine = self._machine(variant)
        _at_least(1, peak_bytes, "peak_bytes")
        with self.monitor:
            self._peaks[machine.name] = max(peak_bytes, self._peaks.get(machine.name, 0))
            self.pump()

    def admit(self) -> None:
        """Do nothing if a request would find a place in the queue now. Raises QueueFull or ShuttingDown if not."""
        with self.monitor:
            if any(machine.shut for machine in self._machines.values()):
                raise ShuttingDown("the models are being closed, and no requests are taken")
            self._check_room()

    def misfit(self, variant: str) -> str:
        """Why a variant could not be loaded even if nothing else was; empty if it could. Raises NotFound."""
        name = self._machine(variant).name
        with self.monitor:
            return self._too_big(name).message if self._exceeds_budget(name) else ""

    def is_loaded(self, variant: str) -> bool:
        """Whether a variant could be used right now without a load. Never waits. Raises NotFound."""
        return self._machine(variant).state is State.READY

    def status(self) -> dict[str, dict[str, object]]:
        """By variant, what `Status` says and `memory_bytes`, its share of the budget. Never waits for anything."""
        with self.monitor:
            return {
                name: {**machine.status().as_dict(), "memory_bytes": self._need(name)}
                for name, machine in self._machines.items()
            }

    def shutdown(self, timeout: float | None = None) -> bool:
        """Close everything now and for good, as `LazyModelManager.shutdown` does. Safe to call twice."""
        with self.monitor:
            closing = [(machine, machine.generation) for machine in self._machines.values()]
            for machine in self._machines.values():
                machine.shut_down()
        gone = [wait_unloaded(machine, generation, timeout) for machine, generation in closing]
        return all(gone) and self._threads.join(JOIN_S) and self._clock.join(JOIN_S)

    def __enter__(self) -> ModelPool[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()

    def pump(self) -> None:
        """Do what `policy.decide` says. For the machines, monitor held."""
        if not self.queue:
            return
        tickets = list(self.queue)
        decision = decide(
            Snapshot(
                variants={name: self._view(name) for name in self._machines},
                queue=[ticket.owner.name for ticket in tickets],
                budget=self._budget,
                max_loaded=self._max_loaded,
            )
        )
        for position in decision.grants:
            tickets[position].owner.grant(tickets[position])
        for position in decision.refusals:
            tickets[position].owner.fail(tickets[position], self._too_big(tickets[position].owner.name))
        for name in decision.evictions:
            self._machines[name].unload("evicted")
        for name in decision.loads:
            self._machines[name].begin_load()

    def _is_free(self, machine: Machine[T]) -> bool:
        """Whether a request for it need not wait, nor any scheduling be done. Monitor held."""
        slots = self._variants[machine.name].slots
        return not self.queue and machine.state is State.READY and len(machine.leases) < slots

    def _ask(self, machine: Machine[T], keep: float | None, wake: bool = False) -> Ticket[T]:
        machine.check_open()
        if machine.state is State.UNLOADED and self._exceeds_budget(machine.name):
            raise self._too_big(machine.name)
        self._check_room()
        ticket = machine.ask(keep, wake)
        self.pump()
        return ticket

    def _check_room(self) -> None:
        if len(self.queue) >= self._queue_size:
            slots = sum(variant.slots for variant in self._variants.values())
            waiting = "1 request is" if len(self.queue) == 1 else f"{len(self.queue)} requests are"
            raise QueueFull(
                f"{waiting} waiting already, which is the limit; try again later",
                retry_after_s=retry_after(len(self.queue), slots, max(m.hold_s for m in self._machines.values())),
            )

    def _machine(self, variant: str) -> Machine[T]:
        machine = self._machines.get(variant)
        if machine is None:
            known = ", ".join(self._machines) or "none"
            raise NotFound(f"there is no variant {variant!r}; known are: {known}", param="variant")
        return machine

    def _need(self, name: str) -> int:
        peak = self._peaks.get(name)
        if peak is None:
            return self._variants[name].memory_bytes
        return peak if self._budget is None else min(peak, self._budget)

    def _view(self, name: str) -> VariantView:
        machine = self._machines[name]
        wanted = machine.state is State.UNLOADED and machine.is_awaited()
        return VariantView(
            state=machine.state,
            need=self._need(name),
            slots=self._variants[name].slots,
            leases=len(machine.leases),
            last_used=machine.last_used,
            backing_off=wanted and machine.crashes.must_wait(),
            after_oom=machine.after_oom,
        )

    def _exceeds_budget(self, name: str) -> bool:
        return self._budget is not None and self._need(name) > self._budget

    def _too_big(self, name: str) -> OutOfMemory:
        return OutOfMemory(
            f"{name} is believed to take {self._need(name) / 2**30:.2f} GiB, more than the whole budget of "
            f"{(self._budget or 0) / 2**30:.2f} GiB; raise the budget or choose a smaller variant"
        )


def _at_least(least: int, value: int, param: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise InvalidRequest(f"{param} must be a whole number of at least {least}, not {value!r}", param=param)
