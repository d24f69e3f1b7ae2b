"""A place in the queue, and the right to use a loaded model that it turns into."""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Generic, Protocol, TypeVar

from editx.errors import Cancelled, EditXError, ModelUnloaded, Stalled
from editx.lifecycle.monitor import Monitor

log = logging.getLogger(__name__)

T = TypeVar("T")


class Owner(Protocol[T]):
    """Whoever gave out leases and tickets, and takes them back."""

    name: str
    monitor: Monitor

    def release(self, lease: Lease[T], *, proven: bool) -> None: ...

    def withdraw(self, ticket: Ticket[T]) -> bool: ...

    def position(self, ticket: Ticket[T]) -> int | None: ...

    def grant(self, ticket: Ticket[T]) -> None: ...

    def fail(self, ticket: Ticket[T], error: EditXError) -> None: ...


def raisable(error: EditXError) -> EditXError:
    """A copy caused by `error`: several threads may raise the same failure, and a traceback belongs to one of them."""
    twin = copy.copy(error)
    twin.__cause__ = error
    return twin


class Lease(Generic[T]):
    """The right to use a loaded model; while it is held the model is not unloaded.

    A context manager: `with manager.lease() as model`. `generation` tells which load the model came from. `error` is
    set once the model was taken away (by an unload that did not wait, by its death, or because the ticket was given
    up); what the body raises then turns into that error, because the loss is the reason, unless it is that nobody wants
    the result any more, or that the model stalled. A body that raises proves nothing of the model's health.
    """

    __slots__ = ("_model", "_owner", "error", "generation", "granted_at", "held", "keep_alive")

    def __init__(self, owner: Owner[T], model: T, generation: int, keep_alive: float | None, granted_at: float) -> None:
        self._owner = owner
        self._model: T | None = model
        self.generation = generation
        self.keep_alive = keep_alive
        self.granted_at = granted_at
        self.held = True
        self.error: EditXError | None = None

    @property
    def model(self) -> T:
        """The model. Raises `ModelUnloaded` (or what revoked the lease) once the lease is not held any more."""
        model = self._model
        if not self.held:
            raise raisable(self.error or ModelUnloaded("this lease was given back already; take a new one"))
        return model  # type: ignore[return-value]  # T itself may admit None, so None cannot mean "gone"

    @property
    def revoked(self) -> bool:
        """Whether the model was taken away before the lease was given back."""
        return self.error is not None

    def release(self) -> None:
        """Give the model back, which has proved healthy. Later calls change nothing."""
        self._owner.release(self, proven=True)

    def end(self, error: EditXError | None = None) -> None:
        """Mark it as not held any more, because of `error` if it was revoked. For the owner, monitor held."""
        self.error = error
        self.held = False
        self._model = None  # a lease that somebody keeps around must not keep the model in memory

    def __enter__(self) -> T:
        return self.model

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        lost = self.error
        self._owner.release(self, proven=error is None)
        if lost is None or not isinstance(error, Exception) or isinstance(error, Cancelled | Stalled | type(lost)):
            return
        raise raisable(lost) from error


class Ticket(Generic[T]):
    """A request for a lease that may have to wait: a future that is granted or fails.

    Made by `LazyModelManager.request` and `ModelPool.request`. Exactly one of `lease` and `error` is set in the end.
    `wake`: it only asks for the model to be loaded, so its lease is given back already when it is granted.
    """

    __slots__ = ("_answered", "_callbacks", "asked_at", "error", "keep_alive", "lease", "owner", "wake")

    def __init__(self, owner: Owner[T], keep_alive: float | None, asked_at: float, wake: bool = False) -> None:
        self.owner = owner
        self.keep_alive = keep_alive
        self.asked_at = asked_at
        self.wake = wake
        self.lease: Lease[T] | None = None
        self.error: EditXError | None = None
        self._answered: threading.Event | None = None
        self._callbacks: list[Callable[[Ticket[T]], None]] = []

    @property
    def done(self) -> bool:
        """Whether it was granted or has failed."""
        return self.lease is not None or self.error is not None

    @property
    def position(self) -> int | None:
        """How many requests are ahead in the queue, 0 for the next one; None once this one is done."""
        return self.owner.position(self)

    def cancel(self) -> bool:
        """Give up: leave the queue, or give the lease back unused. Returns whether there was anything to give up."""
        return self.owner.withdraw(self)

    def add_done_callback(self, fn: Callable[[Ticket[T]], None]) -> None:
        """Call `fn(ticket)` once done, at once if it is, from whichever thread made it so and without any lock."""
        with self.owner.monitor:
            if not self.done:
                self._callbacks.append(fn)
                return
        fn(self)

    def result(self, timeout: float | None = None) -> Lease[T]:
        """Wait for the lease. Raises the error the request failed with, or TimeoutError after `timeout` seconds,
        which leaves the request in the queue."""
        with self.owner.monitor:
            if not self.done and self._answered is None:
                self._answered = threading.Event()
            answered = None if self.done else self._answered
        if answered is not None:
            answered.wait(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        if self.error is not None:
            raise raisable(self.error)
        if self.lease is None:
            raise TimeoutError(f"the model was not available within {timeout:g} s")
        return self.lease

    def settle(self, lease: Lease[T] | None, error: EditXError | None = None) -> None:
        """Answer it. For the owner, monitor held."""
        self.lease, self.error = lease, error
        if self._answered is not None:
            self._answered.set()
        callbacks, self._callbacks = self._callbacks, []
        for fn in callbacks:
            self.owner.monitor.after(lambda fn=fn: self._call(fn))  # type: ignore[misc]

    def _call(self, fn: Callable[[Ticket[T]], None]) -> None:
        try:
            fn(self)
        except Exception:
            log.exception("a ticket's callback raised")
