"""Start child processes: through a zygote in milliseconds, or as fresh interpreters."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import TimeoutError as FutureTimedOut
from types import TracebackType
from typing import Any, Self

import msgspec

from editx.cancellation import Cancellation
from editx.processes import frames, zygote
from editx.processes.child import MAX_ORDER_BYTES, Order
from editx.processes.failures import ChildFailed, ChildTimedOut
from editx.processes.limits import Limits
from editx.processes.process import Child
from editx.processes.spawner import Launch, OnLog, Spawner, ZygoteDied

MAX_ANSWER_BYTES = 1 << 30
_LAST_WORDS_S = 1.0


class Launcher:
    """Starts children that run "module:function" with one socket. Thread-safe; a context manager.

    With `zygote`, children are forked from a process that has imported the modules of `preload` (where the system can
    do that: Linux); without, each is a fresh interpreter. `on_log(label, pid, line)` hears every line a child prints,
    on the launcher's thread, and must not block. A zygote that takes more than `zygote_timeout` seconds to fork, its
    imports included, is killed. Children die with this process, and when their socket is closed.
    """

    def __init__(
        self,
        *,
        zygote: bool = True,
        preload: Sequence[str] = (),
        on_log: OnLog | None = None,
        zygote_timeout: float = 60.0,
    ) -> None:
        self.zygote_timeout = zygote_timeout
        self.uses_zygote = zygote and zygote_available()
        self._spawner = Spawner(zygote=self.uses_zygote, preload=preload, on_log=on_log)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, stack: TracebackType | None
    ) -> None:
        self.close()

    def launch(
        self,
        entry: str,
        *,
        label: str,
        args: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        hurried: bool = False,
    ) -> Child:
        """Start a child that calls `entry`, "module:function", with its socket and `args` (plain msgpack values).

        `hurried`: it is a fresh interpreter as long as the zygote is still at its imports, which can take a minute.
        Raises ChildFailed when no process could be created, ValueError for more than 64 KiB of `args`.
        """
        order = msgspec.msgpack.encode(Order(entry, label, dict(args or {}), list(sys.path), limits))
        if len(order) > MAX_ORDER_BYTES:
            raise ValueError(f"args of {label} take {len(order)} bytes of the {MAX_ORDER_BYTES} an order may have")
        if self.uses_zygote:
            try:
                return self._launch_by_zygote(label, order, hurried)
            except ZygoteDied:
                pass  # the next launch starts a new one; this one does without
        launch = _prepare(label, order)
        self._spawner.start(launch, plain=True)
        return launch.child.result()

    def call(
        self,
        entry: str,
        payload: bytes,
        *,
        label: str,
        timeout: float,
        args: Mapping[str, Any] | None = None,
        limits: Limits | None = None,
        max_answer: int = MAX_ANSWER_BYTES,
        hurried: bool = False,
        cancellation: Cancellation | None = None,
    ) -> bytearray:
        """Hand `payload` to a child that exists for this alone, and return its answer.

        The entry uses `child.read_payload` and `child.write_answer`; `hurried` is as for `launch`. A child that died
        with its zygote is replaced, once. Raises ChildFailed when it ends without a whole answer of at most
        `max_answer` bytes, ChildTimedOut when that takes more than `timeout` seconds from when it runs,
        Cancelled when `cancellation` came first, which kills the child.
        """
        child = self.launch(entry, label=label, args=args, limits=limits, hurried=hurried)
        try:
            return _ask(child, payload, max_answer, timeout, cancellation)
        except ChildFailed:
            if not child.orphaned:
                raise
        child = self.launch(entry, label=label, args=args, limits=limits, hurried=hurried)
        return _ask(child, payload, max_answer, timeout, cancellation)

    def close(self) -> None:
        """Kill every child, wait for their end, and give everything back. Safe to call twice."""
        self._spawner.close()

    def _launch_by_zygote(self, label: str, order: bytes, hurried: bool) -> Child:
        launch = _prepare(label, order, hurried=hurried)
        self._spawner.start(launch)
        try:
            return launch.child.result(self.zygote_timeout)
        except FutureTimedOut:
            self._spawner.drop_zygote()
            return launch.child.result()


def zygote_available() -> bool:
    """Whether children can be forked from a zygote on this system."""
    return zygote.available()


def _prepare(label: str, order: bytes, *, hurried: bool = False) -> Launch:
    """A launch whose child will find its order on its socket."""
    try:
        launch = Launch(label, hurried=hurried)
    except OSError as error:
        raise ChildFailed(f"{label} could not be started: {error}") from None
    # It fits the socket's buffer, so this does not wait for a reader.
    frames.send(launch.ours, order)
    return launch


def _ask(child: Child, payload: bytes, max_answer: int, timeout: float, cancellation: Cancellation | None) -> bytearray:
    """The child's answer. It is no more when this returns or raises."""
    label = child.label

    def failed(reason: str) -> ChildFailed:
        # What happened to its zygote says nothing of the payload, so no exit code goes with it.
        return ChildFailed(f"{label} {reason}", exit_code=None if child.orphaned else child.exit_code)

    forget = cancellation.on_cancel(child.kill) if cancellation else lambda: None
    try:
        answer = _exchange(child, payload, max_answer, time.monotonic() + timeout)
        if answer is not None:
            return answer
        if cancellation:
            cancellation.raise_if_cancelled()
        # Its socket is closed, so it has ended or is about to, and how it ends is the reason.
        if child.wait(_LAST_WORDS_S) is None:
            raise ChildFailed(f"{label} ended the conversation without an answer and was killed")
        words = f": {child.last_line}" if child.last_line else ""
        raise failed(f"{child.exit_description()}{words}")
    except TimeoutError:
        raise ChildTimedOut(f"{label} gave no answer within {timeout:g} s and was killed") from None
    except frames.CutShort as error:
        if cancellation:
            cancellation.raise_if_cancelled()
        child.wait(_LAST_WORDS_S)
        raise failed(f"{child.exit_description()}: {error}") from None
    except frames.BrokenFrame as error:
        raise ChildFailed(f"{label} gave no usable answer and was killed: {error}") from None
    finally:
        forget()
        child.kill()
        child.socket.close()


def _exchange(child: Child, payload: bytes, max_answer: int, deadline: float) -> bytearray | None:
    try:
        frames.send(child.socket, payload, deadline=deadline)
    except (BrokenPipeError, ConnectionResetError):
        pass  # it need not read everything before it answers
    return frames.receive(child.socket, max_answer, deadline=deadline)
