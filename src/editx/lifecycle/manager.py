"""A model that is loaded when it is asked for and gone when nobody has used it for a while.

    from editx import LazyModelManager

    manager = LazyModelManager(load_my_model, idle_timeout=300)
    with manager.lease() as model:      # loads it if need be; it stays while the lease is held
        model.run(...)
    manager.shutdown()

Any callable is a factory and any object a model. If the object has `close()`, that is called on unload; what holds
memory of its own (a CUDA context, a process) should give it back there. Further, an object may have `kill()`, used when
`close()` hangs, and `watch(callback)`, by which it reports its own death; a factory may have `cancel()`.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, TypeVar

from editx.errors import InvalidRequest
from editx.lifecycle.clock import Clock, MonotonicClock
from editx.lifecycle.events import Observer
from editx.lifecycle.limits import Limits, keep_seconds
from editx.lifecycle.machine import Machine
from editx.lifecycle.monitor import Monitor
from editx.lifecycle.states import State
from editx.lifecycle.threads import Spawn, Threads
from editx.lifecycle.ticket import Lease, Ticket

T = TypeVar("T")

JOIN_S = 1.0
"""What `shutdown` gives finished threads to end; only a hung factory or close() uses it up."""


class _Everybody:
    """The scheduler of a single model: whoever waits is served, all together."""

    retries_out_of_memory = False

    def __init__(self) -> None:
        self.monitor = Monitor()
        self.queue: dict[Ticket[Any], None] = {}
        self.machine: Machine[Any]

    def pump(self) -> None:
        if self.machine.state is State.READY:
            for ticket in list(self.queue):
                self.machine.grant(ticket)
        elif self.machine.state is State.UNLOADED and self.queue and not self.machine.crashes.must_wait():
            self.machine.begin_load()


class LazyModelManager(Generic[T]):
    """Owns one model: loads it on demand, shares it, and unloads it `idle_timeout` seconds after its last use.

    All methods may be called from any thread. Times are seconds.
    `idle_timeout`: 0 unloads when the last lease is released (a model handed out by `get_model()` is kept one second);
    None or negative keeps the model. `auto_unload=False` keeps it too, except where a `keep_alive` says otherwise.
    `load_timeout`: how long a load may go without `sign_of_life` before it is given up; None for ever.
    `drain_timeout`: how long an unload waits for leases. `close_timeout`: how long `close()` may take.
    `clock` and `spawn` replace monotonic time and threads, `observer` is told of every transition.
    Raises InvalidRequest for arguments that make no sense.
    """

    def __init__(
        self,
        model_factory: Callable[[], T],
        idle_timeout: float | None = 300.0,
        auto_unload: bool = True,
        *,
        name: str = "model",
        load_timeout: float | None = None,
        drain_timeout: float = 30.0,
        close_timeout: float = 10.0,
        clock: Clock | None = None,
        spawn: Spawn | None = None,
        observer: Observer | None = None,
    ) -> None:
        if not callable(model_factory):
            raise InvalidRequest(f"model_factory must be callable, not {model_factory!r}", param="model_factory")
        # Neither has a thread before there is something to do; a clock or spawn of the caller's is the caller's to end.
        self._clock = MonotonicClock(f"editx-{name}-clock")
        self._threads = Threads(f"editx-{name}")
        self._scheduler = _Everybody()
        self._monitor = self._scheduler.monitor
        self._machine: Machine[T] = Machine(
            model_factory,
            Limits(idle_timeout, auto_unload, load_timeout, drain_timeout, close_timeout),
            name=name,
            scheduler=self._scheduler,
            clock=clock or self._clock,
            spawn=spawn or self._threads,
            observer=observer,
        )
        self._scheduler.machine = self._machine

    def get_model(self) -> T:
        """The model, loaded if need be, and its idle clock restarted.

        Nothing says when the caller is done with it, so it may be unloaded `idle_timeout` later whatever is going on;
        for work that takes time use `lease`. Raises as `lease` does.
        """
        with self._monitor:
            if self._machine.state is State.READY:
                return self._machine.borrow()
        lease = self.lease()
        with self._monitor:
            return self._machine.borrow_from(lease)

    def lease(self, keep_alive: float | None = None, timeout: float | None = None) -> Lease[T]:
        """The right to use the model, for a `with` statement; loads the model if need be, and waits for that.

        `keep_alive` replaces the idle timeout after this use: seconds, 0 unloads on release, negative keeps the model.
        `timeout` limits the wait. Raises TimeoutError then, LoadFailed (or what the factory raised, if that is an
        EditXError) when the load failed, BackingOff, ModelUnloaded when an unload came between, ShuttingDown.
        """
        keep = self._keep(keep_alive)
        with self._monitor:
            if self._machine.state is State.READY:
                return self._machine.take(keep)
            ticket = self._ask(keep)
        return wait(ticket, timeout)

    def request(self, keep_alive: float | None = None) -> Ticket[T]:
        """Ask for a lease without waiting. Raises BackingOff and ShuttingDown; all else is the ticket's to tell."""
        keep = self._keep(keep_alive)
        with self._monitor:
            return self._machine.taken(keep) if self._machine.state is State.READY else self._ask(keep)

    def force_unload(self, now: bool = False, timeout: float | None = None) -> bool:
        """Unload the model and wait until it is gone, at most `timeout` seconds. Returns whether it is gone.

        Leases get `drain_timeout` to end, with `now` no time at all; those left lose the model with ModelUnloaded.
        A load under way is given up. Whoever asks for the model meanwhile gets a fresh one afterwards.
        """
        with self._monitor:
            generation = self._machine.generation
            self._machine.unload("forced", now=now)
        return wait_unloaded(self._machine, generation, timeout)

    def sign_of_life(self, stage: str | None = None, fraction: float | None = None) -> None:
        """For the factory: the load is getting on. Shows in the status, and gives it another `load_timeout`."""
        self._machine.sign_of_life(stage, fraction)

    def get_status(self) -> dict[str, object]:
        """What `Status` says, as a dictionary that `json` can write. Never waits for a load or an unload."""
        return self._machine.status().as_dict()

    def is_loaded(self) -> bool:
        """Whether the model could be used right now without a load. Never waits."""
        return self._machine.state is State.READY

    def shutdown(self, timeout: float | None = None) -> bool:
        """Close the model now and for good, and wait for that, at most `timeout` seconds. Safe to call twice.

        Callers who wait or hold a lease get ShuttingDown. Returns whether the model is gone and no thread is left;
        False after a `timeout`, or when a factory or close() hangs that nothing can end.
        """
        with self._monitor:
            generation = self._machine.generation
            self._machine.shut_down()
        gone = wait_unloaded(self._machine, generation, timeout)
        return gone and self._threads.join(JOIN_S) and self._clock.join(JOIN_S)

    def __enter__(self) -> LazyModelManager[T]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.shutdown()

    def _ask(self, keep: float | None) -> Ticket[T]:
        self._machine.check_open()
        ticket = self._machine.ask(keep)
        self._scheduler.pump()
        return ticket

    def _keep(self, keep_alive: float | None) -> float | None:
        return self._machine.default_keep if keep_alive is None else keep_seconds(keep_alive, "keep_alive")


def wait(ticket: Ticket[T], timeout: float | None) -> Lease[T]:
    """The ticket's lease; whoever is interrupted or runs out of time leaves nothing behind."""
    try:
        return ticket.result(timeout)
    except BaseException:
        ticket.cancel()
        raise


def wait_unloaded(machine: Machine[Any], generation: int, timeout: float | None) -> bool:
    """Wait until the instance of that generation is gone."""
    return machine.monitor.wait_for(
        lambda: machine.generation != generation or machine.state is State.UNLOADED, timeout
    )
