"""The one thread that creates every child process, hears what they print, and learns of their end.

One permanent thread, because the parent-death signal fires when the *thread* that created a child ends.
"""

from __future__ import annotations

import logging
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path

import msgspec

from editx.processes import zygote as zygotes
from editx.processes.failures import ChildFailed
from editx.processes.logs import LogPipe
from editx.processes.process import Child

log = logging.getLogger(__name__)

OnLog = Callable[[str, int, str], None]
CLOSE_TIMEOUT_S = 10.0


class ZygoteDied(Exception):
    """The zygote went away before it answered; the launch may be tried in another way."""


class Launch:
    """One child to be created: its ends of a socket and a pipe, and the child that comes of it. `hurried`: it does not
    wait for a zygote that is still at its imports."""

    def __init__(self, label: str, kind: socket.SocketKind = socket.SOCK_STREAM, *, hurried: bool = False) -> None:
        self.label = label
        self.hurried = hurried
        self.child: Future[Child] = Future()
        self.ours, self.theirs = socket.socketpair(socket.AF_UNIX, kind)
        try:
            self.log_read, self.log_write = os.pipe()
        except OSError:
            self.ours.close()
            self.theirs.close()
            raise

    def handed_over(self) -> None:
        """The child has its ends now."""
        self.theirs.close()
        os.close(self.log_write)

    def fail(self, error: Exception) -> None:
        self.handed_over()
        self.ours.close()
        os.close(self.log_read)
        self.child.set_exception(error)


class _Running:
    """What the spawner keeps of a child: its log, and a pidfd or a waiting thread by which it learns of its end."""

    def __init__(self, child: Child, log_pipe: LogPipe, pidfd: int | None) -> None:
        self.child = child
        self.log = log_pipe
        self.pidfd = pidfd
        self.waiter: threading.Thread | None = None


class _Zygote:
    """Our side of a zygote process, and the launches it has not answered yet."""

    def __init__(self, process: subprocess.Popen[bytes], control: socket.socket, log_pipe: LogPipe) -> None:
        self.process = process
        self.control = control
        self.log = log_pipe
        self.ready = False
        self.pending: dict[int, Launch] = {}
        self.running: dict[int, _Running] = {}


class Spawner:
    """Creates children on a thread of its own. All private methods run on that thread."""

    def __init__(self, *, zygote: bool, preload: Sequence[str], on_log: OnLog | None) -> None:
        self._use_zygote = zygote
        self._preload = list(preload)
        self._on_log = on_log
        self._zygote: _Zygote | None = None
        self._running: set[_Running] = set()
        self._serial = 0
        self._closing_until: float | None = None
        self._lock = threading.Lock()
        self._commands: deque[Callable[[], None]] = deque()
        self._stopped = False
        self._selector = selectors.DefaultSelector()
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._selector.register(self._wake_read, selectors.EVENT_READ, self._obey)
        self._thread = threading.Thread(target=self._loop, name="editx-spawner", daemon=True)
        self._thread.start()

    def start(self, launch: Launch, *, plain: bool = False) -> None:
        """Create the child; `launch.child` is the result. `plain` goes round the zygote."""
        if not self._post(lambda: self._start(launch, plain)):
            launch.fail(ChildFailed(f"{launch.label} was not started: the launcher is closed"))

    def drop_zygote(self) -> None:
        """Kill a zygote that does not answer. Its unanswered launches fail with ZygoteDied."""
        self._post(self._bury_zygote)

    def close(self) -> None:
        """Kill every child and the zygote, wait until they are gone, and end the thread. Safe to call twice."""
        self._post(self._begin_closing)
        self._thread.join()

    def _post(self, command: Callable[[], None]) -> bool:
        with self._lock:
            if self._stopped:
                return False
            self._commands.append(command)
            try:
                self._wake_write.send(b"\0")
            except BlockingIOError:
                pass  # full of wake-ups already
            return True

    def _loop(self) -> None:
        try:
            if self._use_zygote:
                self._start_zygote()
            while not self._closed():
                timeout = None if self._closing_until is None else self._closing_until - time.monotonic()
                for key, _ in self._selector.select(timeout):
                    # An event handled before this one may have closed what this one is about.
                    if self._selector.get_map().get(key.fd) is key:
                        key.data()
        finally:
            self._stop()

    def _closed(self) -> bool:
        if self._closing_until is None:
            return False
        return not self._running or time.monotonic() >= self._closing_until

    def _stop(self) -> None:
        self._begin_closing()
        with self._lock:
            self._stopped = True
        self._obey()  # what was posted before the flag went up
        for running in list(self._running):
            log.error("process %d (%s) would not die and is left to the kernel", running.child.pid, running.child.label)
            self._forget(running, -signal.SIGKILL)
        self._selector.close()
        self._wake_read.close()
        self._wake_write.close()

    def _obey(self) -> None:
        try:
            self._wake_read.recv(4096)
        except BlockingIOError:
            pass
        while True:
            with self._lock:
                if not self._commands:
                    return
                command = self._commands.popleft()
            command()

    # Launching

    def _start(self, launch: Launch, plain: bool) -> None:
        if self._closing_until is not None:
            launch.fail(ChildFailed(f"{launch.label} was not started: the launcher is closing"))
        elif self._use_zygote and not plain:
            self._start_by_zygote(launch)
        else:
            self._start_plain(launch)

    def _start_plain(self, launch: Launch) -> None:
        try:
            process = self._python("editx.processes.child", launch.theirs, launch.log_write)
        except OSError as error:
            launch.fail(ChildFailed(f"{launch.label} could not be started: {error}"))
            return
        running = self._started(launch, process.pid, process.kill, None)
        # A waiting thread works on every system; the exit itself is handled on the spawner's thread like all others.
        running.waiter = threading.Thread(
            target=lambda: self._report_exit(running, process.wait()), name=f"editx-wait-{process.pid}", daemon=True
        )
        try:
            running.waiter.start()
        except RuntimeError as error:  # the system has no thread left; nobody would learn of the child's end
            log.error("process %d (%s) is killed: %s", process.pid, launch.label, error)
            process.kill()
            self._forget(running, process.wait())

    def _report_exit(self, running: _Running, code: int) -> None:
        self._post(lambda: self._forget(running, code))

    def _start_by_zygote(self, launch: Launch) -> None:
        zygote = self._zygote or self._start_zygote()
        if zygote is None:
            launch.fail(ZygoteDied())
            return
        if launch.hurried and not zygote.ready:
            self._start_plain(launch)
            return
        self._serial += 1
        message = msgspec.msgpack.encode(zygotes.Fork(self._serial))
        zygote.pending[self._serial] = launch
        try:
            socket.send_fds(zygote.control, [message], [launch.theirs.fileno(), launch.log_write])
        except OSError:
            self._bury_zygote()

    def _started(self, launch: Launch, pid: int, send_kill: Callable[[], None], pidfd: int | None) -> _Running:
        launch.handed_over()
        child = Child(launch.label, pid, launch.ours, send_kill)
        running = _Running(child, self._read_log(launch.log_read, launch.label, pid), pidfd)
        self._running.add(running)
        launch.child.set_result(child)
        return running

    def _read_log(self, fd: int, label: str, pid: int) -> LogPipe:
        pipe = LogPipe(fd, lambda line: self._say(label, pid, line))

        def readable() -> None:
            if pipe.read() == 0:
                self._selector.unregister(fd)

        self._selector.register(fd, selectors.EVENT_READ, readable)
        return pipe

    def _python(self, module: str, theirs: socket.socket, log_write: int) -> subprocess.Popen[bytes]:
        """A fresh interpreter running `module` with a socket; it finds this very package first."""
        home = str(Path(__file__).parents[2])
        path = os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH")]))
        return subprocess.Popen(
            [sys.executable, "-P", "-m", module, str(theirs.fileno()), str(os.getpid())],
            stdin=subprocess.DEVNULL,
            stdout=log_write,
            stderr=log_write,
            pass_fds=[theirs.fileno()],
            env={**os.environ, "PYTHONPATH": path},
        )

    # The zygote

    def _start_zygote(self) -> _Zygote | None:
        try:
            launch = Launch("zygote", socket.SOCK_SEQPACKET)
        except OSError as error:
            log.error("the zygote could not be started: %s", error)
            return None
        try:
            process = self._python("editx.processes.zygote", launch.theirs, launch.log_write)
        except OSError as error:
            log.error("the zygote could not be started: %s", error)
            launch.fail(ZygoteDied())
            return None
        launch.handed_over()
        ours = launch.ours
        zygote = _Zygote(process, ours, self._read_log(launch.log_read, launch.label, process.pid))
        ours.send(msgspec.msgpack.encode(zygotes.Setup(list(sys.path), self._preload)))
        self._selector.register(ours, selectors.EVENT_READ, lambda: self._hear_zygote(zygote))
        self._zygote = zygote
        return zygote

    def _hear_zygote(self, zygote: _Zygote) -> None:
        try:
            message, fds, _, _ = socket.recv_fds(zygote.control, zygotes.MAX_MESSAGE_BYTES, 1, socket.MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            message, fds = b"", []
        if not message:
            self._bury_zygote()
            return
        match msgspec.msgpack.decode(message, type=zygotes.Report):
            case zygotes.Ready():
                zygote.ready = True
            case zygotes.Forked(serial, pid):
                launch = zygote.pending.pop(serial)
                if not fds:
                    # The child sees its socket closed and exits.
                    launch.fail(ChildFailed(f"{launch.label} could not be started: no file descriptor is left"))
                    return
                (pidfd,) = fds
                zygote.running[serial] = self._started(launch, pid, lambda: _kill_by(pidfd), pidfd)
            case zygotes.NotForked(serial, reason):
                launch = zygote.pending.pop(serial)
                launch.fail(ChildFailed(f"{launch.label} could not be started: {reason}"))
            case zygotes.Exited(serial, code):
                running = zygote.running.pop(serial, None)
                if running is not None:
                    self._forget(running, code)

    def _bury_zygote(self) -> None:
        """Make sure it is dead. Its children die with it, and are watched to their end by their pidfds."""
        zygote, self._zygote = self._zygote, None
        if zygote is None:
            return
        self._selector.unregister(zygote.control)
        zygote.control.close()
        zygote.process.kill()
        zygote.process.wait()
        self._unwatch(zygote.log)
        zygote.log.finish()
        if self._closing_until is None:
            log.warning("the zygote ended: %s", zygote.log.last_line or f"code {zygote.process.returncode}")
        for launch in zygote.pending.values():
            launch.fail(ZygoteDied())
        for running in zygote.running.values():
            running.child.orphaned = True
            running.child.kill()
            assert running.pidfd is not None
            self._selector.register(
                running.pidfd, selectors.EVENT_READ, lambda running=running: self._forget(running, -signal.SIGKILL)
            )

    # Endings

    def _forget(self, running: _Running, code: int) -> None:
        """The child is dead: hand on its last words, then say so."""
        if running not in self._running:
            return
        self._running.discard(running)
        self._unwatch(running.log)
        running.log.finish()
        callbacks = running.child.ended(code, running.log.last_line)
        if running.pidfd is not None:
            if running.pidfd in self._selector.get_map():
                self._selector.unregister(running.pidfd)
            os.close(running.pidfd)
        for callback in callbacks:
            _call(callback)

    def _begin_closing(self) -> None:
        if self._closing_until is None:
            self._closing_until = time.monotonic() + CLOSE_TIMEOUT_S
            for running in self._running:
                running.child.kill()
            self._bury_zygote()

    def _unwatch(self, pipe: LogPipe) -> None:
        if pipe.fd in self._selector.get_map():
            self._selector.unregister(pipe.fd)

    def _say(self, label: str, pid: int, line: str) -> None:
        on_log = self._on_log
        if on_log is not None:
            _call(lambda: on_log(label, pid, line))


def _call(callback: Callable[[], None]) -> None:
    """Run somebody else's code. Its faults are logged: every child would die with this thread."""
    try:
        callback()
    except Exception:
        log.exception("a callback of the spawner failed")


def _kill_by(pidfd: int) -> None:
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except ProcessLookupError:
        pass  # dead already, and about to be reported so
