"""Monotonic time that can be injected, and deadlines on it. Nothing here polls."""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Callable
from typing import Protocol

from editx.lifecycle.monitor import Monitor

log = logging.getLogger(__name__)


class Timer(Protocol):
    """A call that is due later."""

    def cancel(self) -> None:
        """Don't make the call, unless it is being made already."""
        ...


class Clock(Protocol):
    """Seconds that only go forward, and calls made at a later moment."""

    def now(self) -> float: ...

    def call_at(self, when: float, fn: Callable[[], None]) -> Timer:
        """Call `fn` once `now()` has reached `when`, from a thread that holds no lock."""
        ...


class MonotonicClock:
    """`time.monotonic` with one timer thread, which exists only while timers are armed."""

    def __init__(self, name: str = "editx-clock") -> None:
        self._name = name
        self._changed = threading.Condition(threading.Lock())
        self._heap: list[tuple[float, int, _Call]] = []
        self._serial = itertools.count()
        self._thread: threading.Thread | None = None
        self._running = False
        self._stranded = False
        """Whether calls are armed that no thread will make, because none could be started."""

    def now(self) -> float:
        if self._stranded:
            with self._changed:
                if not self._running:
                    self._start()
        return time.monotonic()

    def call_at(self, when: float, fn: Callable[[], None]) -> Timer:
        call = _Call(self, fn)
        with self._changed:
            heapq.heappush(self._heap, (when, next(self._serial), call))
            if not self._running:
                self._start()
            elif self._heap[0][2] is call:
                self._changed.notify()
        return call

    def join(self, timeout: float) -> bool:
        """Wait at most `timeout` seconds for the timer thread to end, which it does once no timer is armed."""
        thread = self._thread
        if thread is None or thread is threading.current_thread():
            return True
        thread.join(timeout)
        return not thread.is_alive()

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        try:
            thread.start()
        except RuntimeError as error:
            # Whoever asked is in the middle of a change. What is armed stays so, and every look at it tries again.
            if not self._stranded:
                log.error("%s: %s; what is due comes late", self._name, error)
            self._stranded = True
            return
        self._thread = thread
        self._running = True
        self._stranded = False

    def _forget_cancelled(self) -> None:
        while self._heap and self._heap[0][2].fn is None:
            heapq.heappop(self._heap)

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next call that is due; None when none is armed any more."""
        with self._changed:
            while True:
                self._forget_cancelled()
                if not self._heap:
                    self._running = False
                    return None
                wait = self._heap[0][0] - time.monotonic()
                if wait <= 0:
                    call = heapq.heappop(self._heap)[2]
                    fn, call.fn = call.fn, None
                    return fn
                self._changed.wait(min(wait, threading.TIMEOUT_MAX))

    def _run(self) -> None:
        while (fn := self._next()) is not None:
            try:
                fn()
            except Exception:
                log.exception("a timer raised")

    def _cancel(self, call: _Call) -> None:
        with self._changed:
            call.fn = None
            # A thread that waits for this very call has nothing to wait for now, and may have to end.
            if self._heap and self._heap[0][2] is call:
                self._changed.notify()


class _Call:
    __slots__ = ("_clock", "fn")

    def __init__(self, clock: MonotonicClock, fn: Callable[[], None]) -> None:
        self._clock = clock
        self.fn: Callable[[], None] | None = fn

    def cancel(self) -> None:
        self._clock._cancel(self)


class Alarm:
    """One deadline that may be moved often: only moving it forward in time touches the clock.

    A timer that goes off too early looks at the current deadline and arms itself again. `ring` is called with the
    monitor held. All methods are to be called with the monitor held.
    """

    def __init__(self, clock: Clock, monitor: Monitor, ring: Callable[[], None]) -> None:
        self._clock = clock
        self._monitor = monitor
        self._ring = ring
        self._timer: Timer | None = None
        self._timer_at = 0.0
        self._serial = 0
        self.due: float | None = None
        """When it rings; None for never. May be set to None directly, which leaves an armed timer to find that out."""

    def set(self, due: float | None) -> None:
        self.due = due
        if due is not None and (self._timer is None or due < self._timer_at):
            self._arm(due)

    def cancel(self) -> None:
        """Never ring, and leave nothing armed."""
        self.due = None
        self._serial += 1
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _arm(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._serial += 1
        serial = self._serial
        self._timer = self._clock.call_at(at, lambda: self._fire(serial))
        self._timer_at = at

    def _fire(self, serial: int) -> None:
        with self._monitor:
            if serial != self._serial or self._timer is None:
                return  # a timer that was cancelled too late, or that fired twice
            self._timer = None
            if self.due is None:
                return
            if self._clock.now() < self.due:
                self._arm(self.due)
                return
            self.due = None
            self._ring()
