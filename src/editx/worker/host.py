"""Inside a worker process: one engine, and the requests that come for it over the socket."""

from __future__ import annotations

import importlib
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, DeviceLost, Engine, OpenEngine, Progress
from editx.errors import EditXError, EngineFault, LoadFailed, ModelUnavailable, OutOfMemory
from editx.processes import frames
from editx.processes.child import ORPHANED
from editx.worker import wire
from editx.worker.window import Window

UNUSABLE = 70
"""The exit code of a worker whose device was lost."""
_MAX_THREADS = 64
_FAULT_TEXT_CHARS = 300


def main(sock: socket.socket, args: dict[str, Any]) -> None:
    """Load what the first frame says, then serve until told to close. `args` is not used: `Open` says everything."""
    command = wire.receive_command(sock)
    if not isinstance(command, wire.Open):
        raise wire.WireError(f"the first frame is Open, not {type(command).__name__}")
    replies = _Replies(sock)
    try:
        engine = _load(command, replies)
        memory = engine.memory()
    except Exception as error:
        replies.send(wire.Failed.of(wire.LOAD_ID, _load_error(command.variant, error)))
        return
    replies.send(wire.Ready(engine.sample_rate, memory))
    _Host(command.variant, engine, replies).serve(sock)


def _load(order: wire.Open, replies: _Replies) -> Engine:
    module, _, name = order.entry.partition(":")
    open_engine: OpenEngine = getattr(importlib.import_module(module), name)
    return open_engine(order.variant, order.options, lambda progress: replies.send(wire.Report(wire.LOAD_ID, progress)))


def _load_error(variant: str, error: Exception) -> EditXError:
    if isinstance(error, ModelUnavailable):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory(f"{variant} does not fit: memory ran out while loading it")
    if isinstance(error, EditXError):
        return LoadFailed(error.message, param=error.param)
    traceback.print_exc()
    return LoadFailed(f"{variant} could not be loaded: {_fault_text(error)}")


def _fault_text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:_FAULT_TEXT_CHARS]


class _Replies:
    """The way back to the server, shared by all threads."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, frame: wire.Reply) -> None:
        body = wire.encode(frame)
        try:
            with self._lock:
                frames.send(self._sock, body)
        except OSError:
            os._exit(ORPHANED)


class _Host:
    """Runs requests, each on a thread, and stops those that are cancelled."""

    def __init__(self, variant: str, engine: Engine, replies: _Replies) -> None:
        self._variant = variant
        self._engine = engine
        self._replies = replies
        self._requests: dict[int, _Request] = {}
        self._lock = threading.Lock()
        # Threads are kept for the next request: numeric libraries tie their own thread pools to the calling thread.
        self._threads = ThreadPoolExecutor(_MAX_THREADS, thread_name_prefix="run")

    def serve(self, sock: socket.socket) -> None:
        """Obey the server until `Close`. (When the server dies, so does this process, without a word.)"""
        while True:
            command = wire.receive_command(sock)
            match command:
                case wire.Run():
                    request = _Request(command)
                    with self._lock:
                        self._requests[command.id] = request
                    self._threads.submit(self._run, request)
                case wire.Cancel(id):
                    if cancelled := self._find(id):
                        cancelled.cancellation.cancel()
                case wire.Credit(id, size):
                    if running := self._find(id):
                        running.window.give(size)
                case wire.Close():
                    self._close()
                    return
                case None:
                    os._exit(ORPHANED)
                case wire.Open():
                    raise wire.WireError("Open came a second time")

    def _find(self, id: int) -> _Request | None:
        with self._lock:
            return self._requests.get(id)

    def _close(self) -> None:
        with self._lock:
            requests = list(self._requests.values())
        for request in requests:
            request.cancellation.cancel("the model is being unloaded")
        self._threads.shutdown()
        self._engine.close()

    def _run(self, request: _Request) -> None:
        order = request.order
        reply: wire.Reply
        try:
            timings = self._work(request)
            reply = wire.Done(order.id, timings, self._engine.memory())
        except DeviceLost as error:
            # Whatever is asked next would fail as well; the server starts another worker, and backs off if that fails.
            traceback.print_exception(error)
            os._exit(UNUSABLE)
        except BaseException as error:  # the last frame on this thread: whatever it was, the request must end
            reply = wire.Failed.of(order.id, self._error(order, error))
        with self._lock:
            del self._requests[order.id]
        self._replies.send(reply)

    def _error(self, order: wire.Run, error: BaseException) -> EditXError:
        if isinstance(error, EditXError):
            return error
        if isinstance(error, MemoryError):
            return OutOfMemory(f"{self._variant} ran out of memory during {order.step.kind}; a shorter clip may fit")
        print(f"request {order.id} ({order.step.kind}) failed:", file=sys.stderr)
        traceback.print_exception(error)
        return EngineFault(f"{self._variant} failed during {order.step.kind}: {_fault_text(error)}")

    def _work(self, request: _Request) -> dict[str, float]:
        """Run the engine and send what it yields. Returns the seconds spent in each stage, sending not included."""
        order = request.order
        cancellation = request.cancellation
        context = Context(order.transcript, order.seed, order.sampling, order.stream, cancellation)
        timings: dict[str, float] = {}
        stage = "preprocessing"
        results = self._engine.run(order.step, order.sound.clip(), context)
        try:
            while True:
                cancellation.raise_if_cancelled()
                before = time.perf_counter()
                result = next(results, None)
                timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - before
                match result:
                    case None:
                        return timings
                    case Progress():
                        stage = result.stage
                        self._replies.send(wire.Report(order.id, result))
                    case Clip():
                        self._send_audio(request, result)
                    case _:
                        raise TypeError(f"an engine yields Progress and Clip, not {type(result).__name__}")
        finally:
            _close_iterator(results)

    def _send_audio(self, request: _Request, clip: Clip) -> None:
        step = wire.MAX_AUDIO_BYTES // 4
        for start in range(0, len(clip.samples), step):
            piece = wire.Sound.of(Clip(clip.samples[start : start + step], clip.rate))
            request.window.take(len(piece.samples))
            self._replies.send(wire.Audio(request.order.id, piece))


class _Request:
    """A request under way."""

    def __init__(self, order: wire.Run) -> None:
        self.order = order
        self.cancellation = Cancellation()
        self.window = Window(self.cancellation)


def _close_iterator(results: Iterator[Progress | Clip]) -> None:
    """Let a generator free what it holds now, rather than when it is collected."""
    close = getattr(results, "close", None)
    if close is not None:
        close()
