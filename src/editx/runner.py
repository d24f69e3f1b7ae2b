"""From threads to the event loop: jobs whose events can be awaited, and other work that blocks.

What runs for a client ends when nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from typing import Protocol, TypeVar

from editx.cancellation import Cancellation
from editx.errors import Cancelled, EditXError, QueueFull, ShuttingDown
from editx.studio import Audio, Event, Job, Result, Started, Studio

T = TypeVar("T")

READERS = 4
"""Recordings that are read at once. Each keeps a child process busy, for seconds where it was made to."""
READ_AGAIN_S = 5.0
_STOPPED = "the server is shutting down"


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

    `threads` bounds the jobs that run or wait at once; the pool's queue refuses earlier than that. `queue_size` bounds
    the requests that wait for their recordings to be read.
    """

    def __init__(self, studio: Studio, counts: Counts, *, threads: int, queue_size: int) -> None:
        self._studio = studio
        self._counts = counts
        self._jobs = ThreadPoolExecutor(threads, thread_name_prefix="editx-job")
        self._chores = ThreadPoolExecutor(4, thread_name_prefix="editx-chore")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="editx-reader")
        self._read_at_once = READERS + queue_size
        self._reading = 0
        self._running: set[Cancellation] = set()
        self._stopped = False

    async def chore(self, function: Callable[[], T]) -> T:
        """Run something short that blocks, such as looking at the voice library."""
        return await asyncio.get_running_loop().run_in_executor(self._chores, function)

    async def read(self, function: Callable[[Cancellation], T], cancellation: Cancellation | None = None) -> T:
        """Run what decodes or fetches a stranger's recording; it is cancelled when the caller is, or by `cancellation`.

        Raises QueueFull when too many wait for that already, ShuttingDown when the server did not wait for it.
        """
        if self._reading >= self._read_at_once:
            raise QueueFull(
                f"{self._reading - READERS} requests wait for their recordings to be read already; try again later",
                retry_after_s=READ_AGAIN_S,
            )
        stop = cancellation or Cancellation()

        def work() -> T:
            try:
                stop.raise_if_cancelled()
                return function(stop)
            except Cancelled as error:
                raise self._why(error) from None

        self._reading += 1
        try:
            with self._ending(stop):
                return await asyncio.get_running_loop().run_in_executor(self._readers, work)
        finally:
            self._reading -= 1

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
            except Cancelled as error:
                self._counts.cancelled()
                raise self._why(error) from None
            finally:
                tell(None)
            self._counts.job(result)
            return result

        future = loop.run_in_executor(self._jobs, work)
        future.add_done_callback(lambda done: done.cancelled() or done.exception())  # never "was not retrieved"
        with self._ending(cancellation):
            yield Run(events, future, cancellation)

    @contextmanager
    def _ending(self, cancellation: Cancellation) -> Iterator[None]:
        """Cancel what listens to `cancellation` when the context ends, or everything does."""
        if self._stopped:
            cancellation.cancel(_STOPPED)
        self._running.add(cancellation)
        try:
            yield
        finally:
            cancellation.cancel("the client left")
            self._running.discard(cancellation)

    def _why(self, error: Cancelled) -> EditXError:
        return ShuttingDown(_STOPPED) if self._stopped else error

    def stop(self) -> None:
        """End what runs: whoever waits for it is told ShuttingDown. Call it on the event loop."""
        self._stopped = True
        for cancellation in list(self._running):
            cancellation.cancel(_STOPPED)

    def close(self) -> None:
        """Cancel what runs and end the threads."""
        self.stop()
        for threads in (self._jobs, self._readers, self._chores):
            threads.shutdown(wait=True, cancel_futures=True)
