"""From the studio's threads to the event loop: jobs whose events can be awaited, and that end when nobody listens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Protocol, TypeVar

from editx.cancellation import Cancellation
from editx.errors import Cancelled
from editx.studio import Audio, Event, Job, Result, Started, Studio

T = TypeVar("T")


class Counts(Protocol):
    """Who is told what became of the jobs; from any thread."""

    def job(self, result: Result) -> None:
        """A job finished."""
        ...

    def cancelled(self) -> None:
        """A job was given up."""
        ...


class Run:
    """A job under way. `started` and `result` are set as they happen; iterate `audio()` for the sound."""

    def __init__(
        self, events: asyncio.Queue[Event | None], work: asyncio.Future[Result], cancellation: Cancellation
    ) -> None:
        self._events = events
        self._work = work
        self._cancellation = cancellation
        self._first: Audio | None = None
        self.started: Started | None = None

    async def first_audio(self) -> Started:
        """Wait until the first sound is there. Raises what the job raises before that."""
        while self._first is None:
            event = await self._events.get()
            if event is None:
                await self._work
                raise AssertionError("a job that succeeds has made sound")
            if isinstance(event, Started):
                self.started = event
            elif isinstance(event, Audio):
                self._first = event
        assert self.started is not None
        return self.started

    async def audio(self) -> AsyncIterator[Audio]:
        """The sound, piece by piece, as it is made. Raises what the job raises."""
        await self.first_audio()
        assert self._first is not None
        yield self._first
        while (event := await self._events.get()) is not None:
            if isinstance(event, Audio):
                yield event
        await self._work

    async def events(self) -> AsyncIterator[Event]:
        """Everything that happens, in order, to the end. Raises what the job raises. Not together with `audio()`."""
        while (event := await self._events.get()) is not None:
            yield event
        await self._work

    def cancel(self, reason: str) -> None:
        """End the job; whoever awaits it gets Cancelled."""
        self._cancellation.cancel(reason)

    async def result(self) -> Result:
        """Wait for the end."""
        return await asyncio.shield(self._work)


class Runner:
    """Runs jobs and other blocking work on threads of its own, for whoever lives on an event loop.

    `threads` bounds the jobs that run or wait at once; the pool's queue refuses earlier than that.
    """

    def __init__(self, studio: Studio, counts: Counts, *, threads: int) -> None:
        self._studio = studio
        self._counts = counts
        self._jobs = ThreadPoolExecutor(threads, thread_name_prefix="editx-job")
        self._chores = ThreadPoolExecutor(4, thread_name_prefix="editx-chore")
        self._running: set[Cancellation] = set()

    async def chore(self, function: Callable[[], T]) -> T:
        """Run something short that blocks, such as decoding an upload."""
        return await asyncio.get_running_loop().run_in_executor(self._chores, function)

    async def wait(self, function: Callable[[], T]) -> T:
        """Run something that may wait long, such as loading a model."""
        return await asyncio.get_running_loop().run_in_executor(self._jobs, function)

    @asynccontextmanager
    async def run(self, job: Job) -> AsyncIterator[Run]:
        """Start `job`; leaving the context before its end cancels it."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event | None] = asyncio.Queue()
        cancellation = Cancellation()

        def tell(event: Event | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        def work() -> Result:
            try:
                cancellation.raise_if_cancelled()
                result = self._studio.run(job, tell, cancellation)
            except Cancelled:
                self._counts.cancelled()
                raise
            finally:
                tell(None)
            self._counts.job(result)
            return result

        self._running.add(cancellation)
        future = loop.run_in_executor(self._jobs, work)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # never "was not retrieved"
        try:
            yield Run(events, future, cancellation)
        finally:
            cancellation.cancel("the client left")
            self._running.discard(cancellation)

    def close(self) -> None:
        """Cancel what runs and end the threads."""
        for cancellation in list(self._running):
            cancellation.cancel("the server is shutting down")
        self._jobs.shutdown(wait=True, cancel_futures=True)
        self._chores.shutdown(wait=True, cancel_futures=True)
