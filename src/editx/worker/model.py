"""A loaded model that lives in a worker process: how the server uses it, and how it learns of its end."""

from __future__ import annotations

import itertools
import logging
import queue
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import numpy as np

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Memory, Progress
from editx.errors import (
    Cancelled,
    EditXError,
    EngineFault,
    LoadFailed,
    ModelCrashed,
    ModelUnavailable,
    ModelUnloaded,
    Stalled,
)
from editx.processes import frames
from editx.processes.memory import resident_bytes
from editx.processes.process import Child
from editx.recipe import AnyStep, Step
from editx.worker import wire
from editx.worker.inbox import Inbox

log = logging.getLogger(__name__)

KILL_TIMEOUT_S = 5.0
"""How long the kernel may take to end a killed process before it is given up."""

_EXIT_AFTER_HANGUP_S = 1.0
_LAST_WORDS_CHARS = 300


class Finished(msgspec.Struct, frozen=True):
    """The last thing a request yields. `timings`: seconds the engine spent per stage; `memory`: after the request."""

    timings: dict[str, float]
    memory: Memory


class WorkerModel:
    """One worker process, from the first frame to its last. Thread-safe; any number of requests at once.

    Two threads belong to it, one that reads the socket and one that writes it; they end when the process does.
    """

    def __init__(self, child: Child, variant: str, *, stall_timeout: float, grace: float) -> None:
        self.pid = child.pid
        self.sample_rate = 0
        self._child = child
        self._variant = variant
        self._stall_timeout = stall_timeout
        self._grace = grace
        self._memory = Memory()
        self._ids = itertools.count(wire.LOAD_ID)
        self._lock = threading.Lock()
        self._inboxes: dict[int, Inbox] = {}
        self._stopping: dict[int, float] = {}  # cancelled requests the worker has not ended yet: when it must have
        self._end: EditXError | None = None  # why nothing can be asked any more
        self._asked_to_end = False
        self._verdict = ""  # what we killed it for, if we did
        self._watchers: list[Callable[[ModelCrashed], None]] = []
        self._gone = threading.Event()
        self._outgoing: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read, name=f"worker-read-{child.pid}", daemon=True)
        self._writer = threading.Thread(target=self._write, name=f"worker-write-{child.pid}", daemon=True)
        self._reader.start()
        self._writer.start()
        # Frames that arrived before the end are still read; a grandchild that holds the socket cannot keep us waiting.
        child.on_exit(self._hang_up)

    def open(
        self,
        entry: str,
        options: dict[str, object],
        on_progress: Callable[[Progress], None],
        cancellation: Cancellation,
    ) -> None:
        """Load the engine; called once, first. A failure leaves a process that must be killed.

        Raises LoadFailed or OutOfMemory when the engine did, ModelCrashed when the process ended, Stalled without a
        sign of life for the stall timeout, Cancelled when `cancellation` is set.
        """
        with self._request(lambda _: wire.Open(entry, self._variant, options), cancellation) as (_, inbox):
            while True:
                match self._next(inbox, "the load"):
                    case wire.Report(_, progress):
                        on_progress(progress)
                    case wire.Ready(sample_rate, memory):
                        self.sample_rate = sample_rate
                        self._memory = memory
                        return
                    case wire.Failed() as failed:
                        error = failed.error()
                        raise error if isinstance(error, ModelUnavailable) else LoadFailed(error.message)

    def run(self, step: Step, clip: Clip, context: Context) -> Iterator[Progress | Clip | Finished]:
        """Apply one step. Yields what the engine yields, then `Finished`. Closing the iterator cancels the request.

        Raises what the engine raised; EngineFault when it made samples that are no numbers; Cancelled soon after
        `context.cancellation` is set; Stalled when nothing of this request comes for the stall timeout (the worker is
        killed); ModelCrashed when the process died; ModelUnloaded when it was closed or killed.
        """

        def order(id: int) -> wire.Run:
            sound = wire.Sound.of(clip)
            return wire.Run(
                id, cast(AnyStep, step), sound, context.transcript, context.seed, context.sampling, context.stream
            )

        with self._request(order, context.cancellation) as (id, inbox):
            taken = 0
            while True:
                reply = self._next(inbox, step.kind)
                context.cancellation.raise_if_cancelled()
                match reply:
                    case wire.Report(_, progress):
                        yield progress
                    case wire.Audio(_, sound):
                        yield self._heard(sound.clip(), step)
                        taken += len(sound.samples)
                        if taken >= wire.WINDOW_BYTES // 4:
                            self._send(wire.Credit(id, taken))
                            taken = 0
                    case wire.Done(_, timings, memory):
                        yield Finished(timings, memory)
                        return
                    case wire.Failed() as failed:
                        raise failed.error()

    def _heard(self, clip: Clip, step: Step) -> Clip:
        """A clip of a worker's, which is believed no more than a stranger's file: codecs abort on what is no number."""
        if not np.isfinite(clip.samples).all():
            raise EngineFault(
                f"{self._variant} made samples during {step.kind} that are no finite numbers; try another seed, and if "
                "that does not help, another variant"
            )
        return clip

    def memory(self) -> Memory:
        """What the engine held on its device when it last said so: after loading, and after every request."""
        return self._memory

    def rss_bytes(self) -> int:
        """Main memory the process and those it started occupy now, in bytes; 0 when it has ended."""
        return resident_bytes(self.pid) if self._child.exit_code is None else 0

    def watch(self, callback: Callable[[ModelCrashed], None]) -> None:
        """Call `callback` once if the process ends without `close` or `kill`; at once if it has. It must not block."""
        with self._lock:
            if self._end is None:
                self._watchers.append(callback)
                return
            end = self._end
        if isinstance(end, ModelCrashed):
            callback(end)

    def close(self) -> None:
        """End the process: ask, wait for the grace period, then kill. Returns when it is gone. Safe to call twice.

        Requests under way end with ModelUnloaded.
        """
        if self._stop_serving():
            self._send(wire.Close())
            if self._child.wait(self._grace) is None:
                log.warning("the %s worker (pid %d) did not close within %g s", self._variant, self.pid, self._grace)
                self._child.kill()
        if not self._gone.wait(self._grace + KILL_TIMEOUT_S):
            log.error("the %s worker (pid %d) could not be killed", self._variant, self.pid)
        elif self._asked_to_end:
            self._reader.join()  # calls nobody in this case, so it cannot be waiting for the caller

    def kill(self) -> None:
        """End the process now, and return at once. Requests under way end with ModelUnloaded."""
        self._stop_serving()
        self._child.kill()

    def _stop_serving(self) -> bool:
        """From here on the end of the process is expected. False when that was so already, or it has ended."""
        with self._lock:
            if self._end is not None:
                return False
            self._asked_to_end = True
            self._end = ModelUnloaded(f"{self._variant} was unloaded while it was in use; ask again to load it anew")
            inboxes = list(self._inboxes.values())
        for inbox in inboxes:
            inbox.fail(_copy(self._end))
        return True

    # Requests

    @contextmanager
    def _request(self, order: Callable[[int], wire.Command], cancellation: Cancellation) -> Iterator[tuple[int, Inbox]]:
        """Send an order; gives its id and inbox. Left before the worker said the last word, it is cancelled there."""
        cancellation.raise_if_cancelled()
        id, inbox = next(self._ids), Inbox()
        body = wire.encode(order(id))
        with self._lock:
            if self._end is not None:
                raise _copy(self._end)
            self._inboxes[id] = inbox
        self._outgoing.put(body)

        def cancelled() -> None:
            self._abandon(id)
            try:
                cancellation.raise_if_cancelled()
            except Cancelled as error:
                inbox.fail(error)

        forget = cancellation.on_cancel(cancelled)
        try:
            yield id, inbox
        finally:
            forget()
            self._abandon(id)

    def _next(self, inbox: Inbox, what: str) -> wire.Reply:
        """The clock runs only while somebody waits here, so a slow listener is never taken for a stalled worker."""
        try:
            return inbox.get(self._stall_timeout)
        except TimeoutError:
            reason = f"gave no sign of life for {self._stall_timeout:g} s during {what} and was killed"
            self._condemn(reason)
            # Before whoever stalled lets go of the model, so that this counts as its crash and not as its idleness.
            self._report_crash()
            self._asked_to_end = True
            raise Stalled(f"the {self._variant} worker (pid {self.pid}) {reason}") from None

    def _abandon(self, id: int) -> None:
        """Nobody listens to this request any more. If the worker is still at it, it has to stop."""
        with self._lock:
            if self._inboxes.pop(id, None) is None or self._end is not None:
                return
            self._stopping[id] = time.monotonic() + self._stall_timeout
        self._send(wire.Cancel(id))

    def _send(self, frame: wire.Command) -> None:
        self._outgoing.put(wire.encode(frame))

    def _condemn(self, reason: str) -> None:
        with self._lock:
            self._verdict = self._verdict or reason
        self._child.kill()

    # The two threads

    def _write(self) -> None:
        while True:
            with self._lock:
                due = min(self._stopping.values(), default=None)
            try:
                body = self._outgoing.get(timeout=None if due is None else max(0.0, due - time.monotonic()))
            except queue.Empty:
                with self._lock:
                    late = any(due <= time.monotonic() for due in self._stopping.values())
                if late:
                    self._condemn(f"did not stop within {self._stall_timeout:g} s when cancelled and was killed")
                    return
                continue
            if body is None:
                return
            try:
                frames.send(self._child.socket, body)
            except OSError:
                return  # the reading side sees the same end, and says why

    def _read(self) -> None:
        try:
            while (reply := wire.receive_reply(self._child.socket)) is not None:
                self._deliver(reply)
        except wire.WireError as error:
            self._condemn(f"sent what is no message and was killed ({error})")
        if self._child.wait(_EXIT_AFTER_HANGUP_S) is None:
            self._condemn("closed its socket and was killed")
            self._child.wait(KILL_TIMEOUT_S)
        self._outgoing.put(None)
        self._hang_up()
        self._writer.join()
        self._child.socket.close()
        self._report_end()

    def _deliver(self, reply: wire.Reply) -> None:
        ended = not isinstance(reply, wire.Report | wire.Audio)
        if isinstance(reply, wire.Done):
            self._memory = reply.memory
        with self._lock:
            inbox = self._inboxes.pop(reply.id, None) if ended else self._inboxes.get(reply.id)
            if ended:
                self._stopping.pop(reply.id, None)
        if inbox is not None:
            inbox.put(reply)

    def _hang_up(self) -> None:
        try:
            self._child.socket.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass  # closed already

    def _report_end(self) -> None:
        self._gone.set()
        self._report_crash()

    def _report_crash(self) -> None:
        """End what is under way, and tell the watchers unless the end was asked for or has been told already."""
        with self._lock:
            crash: ModelCrashed | None = None
            if self._end is None:
                crash = self._end = ModelCrashed(self._obituary())
            inboxes = list(self._inboxes.values())
            watchers, self._watchers = self._watchers, []
        for inbox in inboxes:
            inbox.fail(_copy(self._end))
        if crash is not None:
            for watcher in watchers:
                watcher(crash)

    def _obituary(self) -> str:
        how = self._verdict or self._child.exit_description()
        words = self._child.last_line[:_LAST_WORDS_CHARS]
        return f"the {self._variant} worker (pid {self.pid}) {how}" + (f"; it last said: {words}" if words else "")


def _copy(error: EditXError) -> EditXError:
    """Each thread raises an exception of its own: a shared one would collect all their tracebacks."""
    return type(error)(error.message)
