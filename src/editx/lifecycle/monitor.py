"""One lock, and what has to happen once it is released."""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from types import TracebackType

from editx.lifecycle.events import Event, Observer

log = logging.getLogger(__name__)

Effect = Callable[[], None]


class Monitor:
    """Guards the state of one manager, or of a pool and all its models.

    Code that holds it only changes state. Everything foreign (starting a thread, a ticket's callbacks, the observer)
    is handed to `after` or `emit` and runs when the outermost `with` has let go, so no foreign code can block a reader.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._depth = 0
        self._effects: list[Effect] = []
        self._outbox: deque[tuple[Observer, Event]] = deque()
        self._delivering = False

    def __enter__(self) -> None:
        self._lock.acquire()
        self._depth += 1

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._depth -= 1
        if self._depth or not (self._effects or self._outbox):
            self._lock.release()
            return
        effects, self._effects = self._effects, []
        # One thread at a time delivers events: two would swap their order.
        if self._outbox and not self._delivering:
            self._delivering = True
            effects.append(self._deliver)
        self._lock.release()
        _run_all(effects)

    def after(self, effect: Effect) -> None:
        """Run `effect` in this thread once the monitor is released. Call with the monitor held."""
        self._effects.append(effect)

    def emit(self, observer: Observer, event: Event) -> None:
        """Tell `observer` once the monitor is released. Call with the monitor held."""
        self._outbox.append((observer, event))

    def notify(self) -> None:
        """Let everybody in `wait_for` look again. Call with the monitor held."""
        self._changed.notify_all()

    def wait_for(self, predicate: Callable[[], bool], timeout: float | None) -> bool:
        """Block until `predicate` (asked with the monitor held) or `timeout` seconds. Call without the monitor."""
        with self._changed:
            return self._changed.wait_for(predicate, None if timeout is None else min(timeout, threading.TIMEOUT_MAX))

    def _deliver(self) -> None:
        while True:
            with self._lock:
                if not self._outbox:
                    self._delivering = False
                    return
                observer, event = self._outbox.popleft()
            try:
                observer(event)
            except Exception:
                log.exception("the observer raised on %s of %s; the state is unaffected", event.kind, event.name)
            except BaseException:
                with self._lock:
                    self._delivering = False
                raise


def _run_all(effects: list[Effect]) -> None:
    """Every effect runs, even when an earlier one is interrupted (Ctrl-C): one of them may answer a waiter."""
    for index, effect in enumerate(effects):
        try:
            effect()
        except BaseException:
            _run_all(effects[index + 1 :])
            raise
