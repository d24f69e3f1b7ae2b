"""The life of one model: the only code that changes its state.

    UNLOADED ── begin_load ──► LOADING ── _loaded ──► READY ── unload, died ──► UNLOADING ── _unloaded ──► UNLOADED
                                  │ ▲                                             ▲   │
                                  │ └── out of memory, once, in a pool            │   └ drain, cancel, close: each phase
                                  ├── the factory raised ──► UNLOADED             │     has a deadline
                                  └── stalled, unload, shutdown ──────────────────┘

Every public method is either called with the monitor held (it says so) or takes it. Foreign code (the factory, the
model's own methods) runs in jobs, never under the monitor.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from enum import Enum
from typing import Any, Generic, Protocol, TypeVar

from editx.errors import (
    Cancelled,
    EditXError,
    LoadFailed,
    ModelCrashed,
    ModelUnloaded,
    OutOfMemory,
    ShuttingDown,
)
from editx.lifecycle.clock import Alarm, Clock
from editx.lifecycle.crashes import Crashes
from editx.lifecycle.events import Event, Kind, Observer
from editx.lifecycle.limits import Limits
from editx.lifecycle.monitor import Monitor
from editx.lifecycle.states import State, Status
from editx.lifecycle.threads import Spawn
from editx.lifecycle.ticket import Lease, Ticket

log = logging.getLogger(__name__)

T = TypeVar("T")

UNPINNED_KEEP_S = 1.0
"""What stands in for an idle timeout of 0 where nobody holds a lease that could end: a model handed out by
`get_model()`, or loaded ahead of its first use."""


def _later_by(now: float, keep: float | None) -> float:
    """The moment `keep` seconds from now; infinity for None."""
    return math.inf if keep is None else now + keep


class Scheduler(Protocol):
    """Decides when a machine loads and who is granted; a manager of one model or a pool of several."""

    monitor: Monitor
    queue: dict[Ticket[Any], None]
    """Everybody who waits, in arrival order (a dict, because it is ordered and forgets in constant time)."""
    retries_out_of_memory: bool

    def pump(self) -> None:
        """Do whatever can be done now. Called with the monitor held, whenever something has changed."""
        ...


class Phase(Enum):
    """What an UNLOADING machine waits for."""

    DRAINING = "the leases"
    CANCELLING = "a factory whose product is not wanted any more"
    CLOSING = "close()"


class Machine(Generic[T]):
    """One model: state, leases, deadlines, counters."""

    def __init__(
        self,
        factory: Callable[[], T],
        limits: Limits,
        *,
        name: str,
        scheduler: Scheduler,
        clock: Clock,
        spawn: Spawn,
        observer: Observer | None = None,
        settle: Callable[[], object] | None = None,
    ) -> None:
        self.name = name
        self.limits = limits
        self.monitor = scheduler.monitor
        self.state = State.UNLOADED
        self.generation = 0
        self.leases: set[Lease[T]] = set()
        self.last_used = 0.0
        self.hold_s = 1.0
        """How long a lease was held lately, on average."""
        self.after_oom = False
        self.shut = False
        self._factory = factory
        self._scheduler = scheduler
        self._clock = clock
        self._spawn = spawn
        self._observer = observer
        self._settle = settle
        self.default_keep = limits.keep
        self._keep = limits.keep
        self._idle = Alarm(clock, self.monitor, lambda: self.unload("idle"))
        self._deadline = Alarm(clock, self.monitor, self._overdue)
        self._retry = Alarm(clock, self.monitor, scheduler.pump)
        self.crashes = Crashes(name, clock, self._retry)
        self._model: T | None = None
        self._phase = Phase.CLOSING
        self._reason = ""
        self._killed = False
        self._death: EditXError | None = None
        self._was_ready = False
        self._began = 0.0
        self._idle_since: float | None = None
        self._lent_until = 0.0
        """Until when somebody may count on a model that was handed out without a lease while others held leases."""
        self._stage: str | None = None
        self._fraction: float | None = None
        self._loads = 0
        self._unloads = 0
        self._last_load_s: float | None = None
        self._last_error: str | None = None

    # Leases and requests. Monitor held, except release and withdraw.

    def ask(self, keep: float | None, wake: bool = False) -> Ticket[T]:
        """Put a request at the end of the queue. The caller pumps."""
        ticket: Ticket[T] = Ticket(self, keep, self._clock.now(), wake)
        self._scheduler.queue[ticket] = None
        return ticket

    def check_open(self) -> None:
        """Raise what no request can get past: ShuttingDown, BackingOff."""
        if self.shut:
            raise ShuttingDown(f"{self.name} is shutting down and takes no requests")
        error = self.crashes.refusal()
        if error is not None and self.state in (State.UNLOADED, State.UNLOADING):
            raise error

    def take(self, keep: float | None, asked_at: float | None = None) -> Lease[T]:
        """A lease on the model, which must be ready."""
        now = self._clock.now()
        lease: Lease[T] = Lease(self, self._model, self.generation, keep, now)  # type: ignore[arg-type]
        self.leases.add(lease)
        self.last_used = now
        self._idle.due = None
        self._idle_since = None
        if self._observer is not None:
            self._emit("lease", seconds=0.0 if asked_at is None else now - asked_at)
        return lease

    def grant(self, ticket: Ticket[T]) -> None:
        """Answer a waiting request with a lease; the model must be ready."""
        del self._scheduler.queue[ticket]
        ticket.settle(self.take(ticket.keep_alive, ticket.asked_at))

    def fail(self, ticket: Ticket[T], error: EditXError) -> None:
        """Answer a waiting request with an error."""
        del self._scheduler.queue[ticket]
        ticket.settle(None, error)

    def release(self, lease: Lease[T], *, proven: bool) -> None:
        """Take a lease back after use: its `keep_alive` decides. `proven`: the model did its work."""
        with self.monitor:
            if not lease.held:
                return
            self._keep = lease.keep_alive
            if proven:
                self.crashes.forget()
            self._end(lease, self._keep)

    def withdraw(self, ticket: Ticket[T]) -> bool:
        """The asker gave up: forget the request, or take back the lease it got and will not use."""
        gave_up = Cancelled(f"whoever asked for {self.name} gave up")
        with self.monitor:
            if ticket in self._scheduler.queue:
                self.fail(ticket, gave_up)
                self.after_oom = self.after_oom and bool(self._waiting())
                self._scheduler.pump()
                return True
            if ticket.lease is None or not ticket.lease.held:
                return False
            self._end(ticket.lease, self._keep, gave_up)
            return True

    def taken(self, keep: float | None) -> Ticket[T]:
        """The answered ticket of somebody who need not wait: the model must be ready."""
        ticket: Ticket[T] = Ticket(self, keep, self._clock.now())
        ticket.settle(self.take(keep))
        return ticket

    def touched(self) -> Ticket[T]:
        """The answered ticket of somebody who wanted the model, which must be ready, to be loaded."""
        self.borrow()
        ticket: Ticket[T] = Ticket(self, None, self.last_used, wake=True)
        ticket.settle(self._spent_lease())
        return ticket

    def is_awaited(self) -> bool:
        """Whether anybody waits for it."""
        return any(ticket.owner is self for ticket in self._scheduler.queue)

    def borrow(self) -> T:
        """The model, which must be ready, without a lease: it stays for as long as the idle clock runs."""
        self._keep = self.default_keep
        self.last_used = self._clock.now()
        if self.leases:
            self._lent_until = _later_by(self.last_used, self._unpinned_keep())
        else:
            self._rest(self._unpinned_keep())
        return self._model  # type: ignore[return-value]  # ready, so it is a T

    def borrow_from(self, lease: Lease[T]) -> T:
        """End `lease` and go on as `borrow` does."""
        model = lease.model
        self._keep = self.default_keep
        self._end(lease, self._unpinned_keep())
        return model

    def position(self, ticket: Ticket[T]) -> int | None:
        with self.monitor:
            return next((place for place, other in enumerate(self._scheduler.queue) if other is ticket), None)

    def _end(self, lease: Lease[T], keep: float | None, error: EditXError | None = None) -> None:
        lease.end(error)
        self.leases.discard(lease)
        self.last_used = now = self._clock.now()
        self.hold_s += 0.2 * (now - lease.granted_at - self.hold_s)
        if self._observer is not None:
            self._emit("release", seconds=now - lease.granted_at)
        if self.leases and not self._scheduler.queue:
            return
        if self.state is State.UNLOADING and self._phase is Phase.DRAINING and not self.leases:
            self._close()
        if self._scheduler.queue:
            self._scheduler.pump()
        if self.state is State.READY and not self.leases:
            self._rest(keep)

    def _rest(self, keep: float | None) -> None:
        """Start the idle clock; what was borrowed while leases were out is kept as long as it would be without them."""
        self._idle_since = now = self._clock.now()
        due = max(_later_by(now, keep), self._lent_until)
        self._lent_until = 0.0
        if due <= now:
            self.unload("idle")
        else:
            self._idle.set(None if due == math.inf else due)

    def _unpinned_keep(self) -> float | None:
        return UNPINNED_KEEP_S if self.default_keep == 0 else self.default_keep

    # Loading.

    def begin_load(self) -> None:
        """Start a load; the machine must be unloaded. Monitor held."""
        self.state = State.LOADING
        self.generation += 1
        self._began = self._clock.now()
        self._stage = self._fraction = self._death = None
        self._emit("loading")
        generation = self.generation
        self._later(lambda: self._load(generation))
        if self.limits.load_timeout is not None:
            self._deadline.set(self._began + self.limits.load_timeout)

    def sign_of_life(self, stage: str | None = None, fraction: float | None = None) -> None:
        """A load is getting on: show how far, and give it another `load_timeout` from here."""
        with self.monitor:
            if self.state is not State.LOADING:
                return
            self._stage, self._fraction = stage, fraction
            if self.limits.load_timeout is not None:
                self._deadline.set(self._clock.now() + self.limits.load_timeout)
            self._emit("progress", stage=stage, fraction=fraction)

    def _load(self, generation: int) -> None:
        """The job that calls the factory."""
        try:
            model = self._factory()
        except BaseException as error:  # whatever it was, nobody may be left waiting for this load
            self._load_failed(generation, self._load_error(error))
            return
        try:
            watch = getattr(model, "watch", None)
            if callable(watch):
                watch(lambda error: self.died(generation, error))
        except BaseException as error:
            self._load_failed(generation, self._load_error(error), [model])
            return
        self._loaded(generation, model)

    def _load_error(self, error: BaseException) -> EditXError:
        if isinstance(error, EditXError):
            return error
        kind = OutOfMemory if isinstance(error, MemoryError) else LoadFailed
        failure = kind(f"{self.name} could not be loaded: {type(error).__name__}: {error}")
        failure.__cause__ = error
        return failure

    def _loaded(self, generation: int, model: T) -> None:
        with self.monitor:
            if generation != self.generation or self.state not in (State.LOADING, State.UNLOADING):
                self._dispose_late(model)
            elif self.state is State.UNLOADING:
                self._dispose_cancelled(model)
            elif self._death is not None:
                self._load_failed(generation, self._death, [model])
            else:
                self._model = model
                self.state = State.READY
                self._was_ready = True
                self._loads += 1
                self._last_load_s = self._clock.now() - self._began
                self._last_error = None
                self._keep = self.default_keep
                self.after_oom = False
                self.last_used = self._clock.now()
                self._deadline.cancel()
                self._emit("ready", seconds=self._last_load_s)
                for ticket in self._waiting():
                    if ticket.wake:
                        del self._scheduler.queue[ticket]
                        ticket.settle(self._spent_lease())
                self._scheduler.pump()
                if self.state is State.READY and not self.leases:
                    self._rest(self._unpinned_keep())

    def _spent_lease(self) -> Lease[T]:
        lease: Lease[T] = Lease(self, self._model, self.generation, None, self.last_used)  # type: ignore[arg-type]
        lease.end()
        return lease

    def _load_failed(self, generation: int, error: EditXError, product: list[T] | None = None) -> None:
        """The factory raised, or (with `product`) what it made was dead on arrival and is still to be closed."""
        with self.monitor:
            if generation != self.generation or self.state not in (State.LOADING, State.UNLOADING):
                for model in product or ():
                    self._dispose_late(model)
                return
            if self.state is State.UNLOADING:
                if product:
                    self._dispose_cancelled(product[0])
                else:
                    self._unloaded(generation)
                return
            self._deadline.cancel()
            if product or isinstance(error, ModelCrashed):
                self.crashes.add(error)
            waiting = self._waiting()
            retry = (
                isinstance(error, OutOfMemory)
                and self._scheduler.retries_out_of_memory
                and not self.after_oom
                and bool(waiting)
            )
            self.after_oom = retry
            self._note_failure(error)
            if not retry:
                for ticket in waiting:
                    self.fail(ticket, error)
            if product:
                self._model = product[0]
                self._start_unloading("crash", Phase.CLOSING)
                self._close()
            else:
                self.state = State.UNLOADED
                self.monitor.notify()
            self._scheduler.pump()

    def _note_failure(self, error: EditXError) -> None:
        self._last_error = str(error)
        self._emit("load_failed", seconds=self._clock.now() - self._began, error=str(error))

    def _abandon_load(self, error: EditXError, reason: str) -> None:
        """Stop wanting the load that is under way. What it may still produce is closed."""
        for ticket in self._waiting():
            self.fail(ticket, error)
        self._start_unloading(reason, Phase.CANCELLING)
        cancel = getattr(self._factory, "cancel", None)
        if callable(cancel):
            self._later(lambda: self._call(cancel, "cancel() of the factory"))
        self._deadline.set(self._clock.now() + self.limits.close_timeout)

    # Unloading.

    def unload(self, reason: str, *, now: bool = False, error: EditXError | None = None) -> None:
        """Begin to unload, for whatever `reason`; `now` does not wait for leases. Monitor held.

        `error` is what those get who lose the model by it.
        """
        lost = error or ModelUnloaded(f"{self.name} was unloaded ({reason}) while it was in use; ask again")
        if self.state is State.LOADING:
            self._abandon_load(lost, reason)
        elif self.state is State.READY:
            self._start_unloading(reason, Phase.DRAINING)
            if self.leases and not now:
                self._deadline.set(self._clock.now() + self.limits.drain_timeout)
            else:
                self._close(lost)
        elif self.state is State.UNLOADING and self._phase is Phase.DRAINING and now:
            self._close(lost)

    def died(self, generation: int, error: BaseException) -> None:
        """The model told that it is dead (its `watch` callback)."""
        crash = error if isinstance(error, EditXError) else ModelCrashed(f"{self.name} died: {error}")
        with self.monitor:
            if generation != self.generation:
                return
            if self.state is State.LOADING:
                self._death = crash
                return
            draining = self.state is State.UNLOADING and self._phase is Phase.DRAINING
            if self.state is not State.READY and not draining:
                return  # it is being closed, so of course it dies
            self.crashes.add(crash)
            self._last_error = str(crash)
            self._emit("crashed", error=str(crash))
            if not draining:
                self._start_unloading("crash", Phase.DRAINING)
            self._close(crash)
            hopeless = self.crashes.refusal()
            if hopeless is not None:
                for ticket in self._waiting():
                    self.fail(ticket, hopeless)
                self._scheduler.pump()

    def _start_unloading(self, reason: str, phase: Phase) -> None:
        self.state = State.UNLOADING
        self._phase = phase
        self._reason = reason
        self._began = self._clock.now()
        self._idle_since = None
        self._lent_until = 0.0
        self._idle.cancel()
        self._emit("unloading", reason=reason)

    def _close(self, lost: EditXError | None = None) -> None:
        """Let go of the model: leases that are left are revoked with `lost`, and close() is called in a job."""
        for lease in self.leases:
            lease.end(lost)
            self._emit("revoked", error=str(lost))
        self.leases.clear()
        self._phase = Phase.CLOSING
        self._killed = False
        self._dispose_by("close")
        self._deadline.set(self._clock.now() + self.limits.close_timeout)

    def _dispose_by(self, method: str) -> None:
        generation, box = self.generation, [self._model]
        self._later(lambda: self._dispose(generation, box, method))

    def _dispose(self, generation: int, box: list[T | None], method: str) -> None:
        """The job that ends the model in the box: by close(), or by kill() when that hangs."""
        model = box.pop()  # out of the box, because whoever called this holds on to that
        ending = getattr(model, method, None)
        if callable(ending):
            self._call(ending, f"{method}()")
        with self.monitor:
            if generation == self.generation:
                self._model = None
        del model, ending  # nothing may refer to it any more by the time somebody is told that it is gone
        if self._settle is not None:
            self._call(self._settle, "waiting for memory to settle")
        self._unloaded(generation)

    def _dispose_cancelled(self, model: T) -> None:
        """The factory of a cancelled load came back after all, in time: close what it made before anything else."""
        self._model = model
        self._close()

    def _dispose_late(self, model: T) -> None:
        """The factory of an abandoned load came back too late: life has gone on without it."""
        ending = getattr(model, "kill", None) or getattr(model, "close", None)
        if callable(ending):
            self._later(lambda: self._call(ending, "closing a model that was loaded too late"))

    def _call(self, foreign: Callable[[], object], what: str) -> None:
        try:
            foreign()
        except BaseException as error:  # foreign code may raise anything; the transition goes on
            log.exception("%s: %s raised", self.name, what)
            with self.monitor:
                self._last_error = f"{what} raised {type(error).__name__}: {error}"

    def _overdue(self) -> None:
        """The deadline of the current transition has passed. Monitor held."""
        if self.state is State.LOADING:
            stage = f" (last seen: {self._stage})" if self._stage else ""
            error = LoadFailed(f"loading {self.name} gave no sign of life for {self.limits.load_timeout} s{stage}")
            self._note_failure(error)
            self._abandon_load(error, "stalled")
        elif self.state is State.UNLOADING and self._phase is Phase.DRAINING:
            message = f"{self.name} was unloaded; its leases had {self.limits.drain_timeout:g} s to end"
            self._close(ModelUnloaded(message))
        elif self.state is State.UNLOADING:
            self._abandon_unload()

    def _abandon_unload(self) -> None:
        generation = self.generation
        if self._phase is Phase.CLOSING and not self._killed and callable(getattr(self._model, "kill", None)):
            self._killed = True
            log.warning("%s did not close within %g s and is killed", self.name, self.limits.close_timeout)
            self._dispose_by("kill")
            self._deadline.set(self._clock.now() + self.limits.close_timeout)
            return
        self._last_error = f"{self._phase.value} did not end within {self.limits.close_timeout:g} s and was abandoned"
        log.warning("%s: %s", self.name, self._last_error)
        self._unloaded(generation)

    def _unloaded(self, generation: int) -> None:
        with self.monitor:
            if generation != self.generation or self.state is not State.UNLOADING:
                return
            self.state = State.UNLOADED
            self._model = None
            self._deadline.cancel()
            self._unloads += self._was_ready
            self._was_ready = False
            self._emit("unloaded", seconds=self._clock.now() - self._began, reason=self._reason)
            self.monitor.notify()
            self._scheduler.pump()

    def shut_down(self) -> None:
        """Take no more requests, answer everybody who waits, and begin to close the model at once. Monitor held."""
        self.shut = True
        error = ShuttingDown(f"{self.name} is shutting down")
        for ticket in self._waiting():
            self.fail(ticket, error)
        self.unload("shutdown", now=True, error=error)
        self._retry.cancel()

    # What is told. `status` takes the monitor for as long as it takes to copy some numbers.

    def status(self) -> Status:
        with self.monitor:
            now = self._clock.now()
            loading = self.state is State.LOADING
            due = self._idle.due if self.state is State.READY else None
            return Status(
                name=self.name,
                loaded=self.state is State.READY,
                state=self.state.value,
                auto_unload=self.limits.auto_unload,
                idle_timeout=self.limits.idle_timeout,
                idle_time=0.0 if self._idle_since is None else now - self._idle_since,
                time_until_unload=None if due is None else max(due - now, 0.0),
                leases=len(self.leases),
                queued=len(self._waiting()),
                loads=self._loads,
                unloads=self._unloads,
                last_load_seconds=self._last_load_s,
                last_error=self._last_error,
                load_stage=self._stage if loading else None,
                load_fraction=self._fraction if loading else None,
                load_seconds=now - self._began if loading else None,
                crashes=self.crashes.count,
                retry_in=self.crashes.retry_in,
            )

    def _waiting(self) -> list[Ticket[T]]:
        return [ticket for ticket in self._scheduler.queue if ticket.owner is self]

    def _emit(self, kind: Kind, **details: Any) -> None:
        if self._observer is not None:
            event = Event(kind, self.name, self._clock.now(), self.generation, len(self.leases), **details)
            self.monitor.emit(self._observer, event)

    def _later(self, job: Callable[[], None]) -> None:
        """Run foreign code in the background, once the monitor is released."""
        self.monitor.after(lambda: self._start(job))

    def _start(self, job: Callable[[], None]) -> None:
        try:
            self._spawn(job)
        except RuntimeError:
            log.warning("%s: no thread could be started, so the work is done in this one", self.name)
            job()
