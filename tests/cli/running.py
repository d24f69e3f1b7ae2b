"""The real `editx`, run as a user would run it."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

import psutil

EDITX = str(Path(sys.executable).parent / "editx")
TIMEOUT_S = 120.0


def environment(data: Path, **more: str) -> dict[str, str]:
    """This process's environment without EditX's variables, with a data directory of the test's own."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDITX_")}
    return {**clean, "EDITX_DATA_DIR": str(data), "TERM": "xterm", "COLUMNS": "120", **more}


class CommandLine:
    """Runs `editx` in `folder`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *arguments: object, input: bytes = b"", **variables: str) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, whatever that is."""
        return subprocess.run(
            [EDITX, *map(str, arguments)], cwd=self.folder, env=environment(self.folder / "data", **variables),
            input=input, capture_output=True, timeout=TIMEOUT_S, check=False,
        )  # fmt: skip

    def __call__(
        self, *arguments: object, input: bytes = b"", code: int = 0, **variables: str
    ) -> subprocess.CompletedProcess[bytes]:
        """Run it to its end, which must be with `code`; nothing may ever print a traceback."""
        done = self.run(*arguments, input=input, **variables)
        said = f"{done.args}\n{done.stdout!r}\n{done.stderr.decode()}"
        assert b"Traceback" not in done.stderr + done.stdout, said
        assert done.returncode == code, said
        return done

    def json(self, *arguments: object, code: int = 0, **variables: str) -> Any:
        """Run it with --json; stdout is one document, and stderr is empty."""
        done = self(*arguments, "--json", code=code, **variables)
        assert done.stderr == b""
        return json.loads(done.stdout)

    def error(self, *arguments: object, code: int, **variables: str) -> str:
        """Run it, expecting an error: one message on stderr, nothing on stdout."""
        done = self(*arguments, code=code, **variables)
        assert done.stdout == b""
        assert done.stderr.startswith(b"error: ")
        return done.stderr.decode().removeprefix("error: ").rstrip("\n")

    def start(self, *arguments: object, **variables: str) -> Terminal:
        return Terminal([EDITX, *map(str, arguments)], self.folder, environment(self.folder / "data", **variables))


class Terminal:
    """A command under way whose output goes to a terminal."""

    def __init__(self, command: list[str], folder: Path, env: dict[str, str]) -> None:
        self._master, theirs = pty.openpty()
        self.process = subprocess.Popen(
            command, cwd=folder, env=env, stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs, start_new_session=True
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._master)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the terminal has shown `pattern`."""
        until = time.monotonic() + TIMEOUT_S
        while not (found := re.search(pattern, self.shown)):
            assert self._read(until), f"it ended or stopped without {pattern!r}: {self.shown[-500:]!r}"
        return found

    def wait(self) -> int:
        """Read to the end; the exit code."""
        until = time.monotonic() + TIMEOUT_S
        while self._read(until):
            pass
        return self.process.wait(TIMEOUT_S)

    def interrupt(self, kind: signal.Signals = signal.SIGINT) -> None:
        """What a terminal does on Ctrl-C: the signal goes to the whole process group."""
        os.killpg(self.process.pid, kind)

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def _read(self, until: float) -> bool:
        if not select.select([self._master], [], [], max(0.0, until - time.monotonic()))[0]:
            return False
        try:
            data = os.read(self._master, 65536)
        except OSError:  # a terminal whose other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)


def all_gone(processes: list[psutil.Process]) -> bool:
    """Whether the processes end by themselves, soon."""
    return not psutil.wait_procs(processes, timeout=10)[1]
