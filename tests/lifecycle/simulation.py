"""Time and threads in the hands of a test, and models that tell what was done to them."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable


class ManualClock:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.time = 1000.0
        self._heap: list[tuple[float, int, _Call]] = []
        self._serial = itertools.count()

    def now(self) -> float:
        return self.time

    def call_at(self, when: float, fn: Callable[[], None]) -> _Call:
        call = _Call(fn)
        heapq.heappush(self._heap, (when, next(self._serial), call))
        return call

    def advance(self, seconds: float) -> None:
        """Let time pass, making every call at its moment."""
        until = self.time + seconds
        while self._heap and self._heap[0][0] <= until:
            when, _, call = heapq.heappop(self._heap)
            self.time = max(self.time, when)
            call.make()
        self.time = until

    def fire_early(self, times: int = 1) -> None:
        """Make every armed call now, before its moment, as often as `times`; they count as made."""
        calls, self._heap = self._heap, []
        for _, _, call in calls:
            for _ in range(times):
                call.make()

    @property
    def armed(self) -> int:
        return sum(not call.cancelled for _, _, call in self._heap)


class _Call:
    def __init__(self, fn: Callable[[], None]) -> None:
        self._fn = fn
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True

    def make(self) -> None:
        if not self.cancelled:
            self._fn()


class Jobs:
    """A `spawn` that keeps what it is given until the test runs it; a job that is not run is a job that hangs."""

    def __init__(self) -> None:
        self.waiting: list[Callable[[], None]] = []

    def __call__(self, job: Callable[[], None]) -> None:
        self.waiting.append(job)

    def run(self, index: int = 0) -> None:
        self.waiting.pop(index)()

    def run_all(self) -> None:
        while self.waiting:
            self.run()


class Model:
    """A model that can be closed, can die, and remembers both."""

    def __init__(self, label: str = "model") -> None:
        self.label = label
        self.closed = 0
        self.close_error: Exception | None = None
        self._on_death: list[Callable[[BaseException], None]] = []

    def watch(self, callback: Callable[[BaseException], None]) -> None:
        self._on_death.append(callback)

    def die(self, error: BaseException) -> None:
        for callback in self._on_death:
            callback(error)

    def close(self) -> None:
        self.closed += 1
        if self.close_error is not None:
            raise self.close_error


class KillableModel(Model):
    def __init__(self, label: str = "model") -> None:
        super().__init__(label)
        self.killed = 0

    def kill(self) -> None:
        self.killed += 1


class Factory:
    """Makes models, or raises what was put into `failures`, once each."""

    def __init__(self, kind: type[Model] = Model, label: str = "model") -> None:
        self.calls = 0
        self.made: list[Model] = []
        self.failures: list[BaseException] = []
        self._kind = kind
        self._label = label

    def __call__(self) -> Model:
        self.calls += 1
        if self.failures:
            raise self.failures.pop(0)
        model = self._kind(self._label)
        self.made.append(model)
        return model


class CancellableFactory(Factory):
    cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1
