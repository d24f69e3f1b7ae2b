"""A real EditX server in a process of its own, for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import httpx
import psutil

REPOSITORY = Path(__file__).parent.parent
START_TIMEOUT_S = 60.0


class Logged:
    """A program whose output is kept, line by line, and can be waited for."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._logged = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        for line in self.process.stdout:
            with self._logged:
                self.log.append(line.rstrip())
                self._logged.notify_all()
        self.process.wait()  # so that whoever waits for a line that cannot come any more is told so
        with self._logged:
            self._logged.notify_all()

    def wait_for_log(self, pattern: str, timeout: float = START_TIMEOUT_S) -> re.Match[str]:
        """The first line of the log that matches, now or later."""
        found: re.Match[str] | None = None

        def seen() -> bool:
            nonlocal found
            found = next((match for line in self.log if (match := re.search(pattern, line))), None)
            return found is not None or self.process.poll() is not None

        with self._logged:
            self._logged.wait_for(seen, timeout)
        assert found is not None, f"no {pattern!r} in the log:\n" + "\n".join(self.log)
        return found

    def stop(self) -> int:
        """SIGTERM, and the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        try:
            return self.process.wait(30)
        finally:
            self.process.kill()
            self._reader.join(10)
            assert self.process.stdout is not None
            self.process.stdout.close()


class RunningServer(Logged):
    """`editx serve --port 0` under `root`, which holds its data; its log is kept in memory.

    `program`: the module that is run, if it is a server of the tests' own.
    """

    def __init__(self, root: Path, *flags: str, env: dict[str, str] | None = None, program: str = "editx") -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("EDITX_")}
        if program != "editx":
            clean["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), clean.get("PYTHONPATH")]))
        command = [sys.executable, "-m", program, "serve", "--port", "0", "--data-dir", str(root / "data"), *flags]
        super().__init__(command, root, {**clean, **(env or {})})
        line = self.wait_for_log(r"listening on (http://\S+)")
        self.url = line[1]
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def status(self, variant: str = "lite") -> dict[str, object]:
        response = self.client.get("/api/v1/models/status")
        response.raise_for_status()
        status: dict[str, object] = response.json()[variant]
        return status

    def descendants(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def stop(self) -> int:
        self.client.close()
        return super().stop()


@contextlib.contextmanager
def running_server(
    root: Path, *flags: str, env: dict[str, str] | None = None, program: str = "editx"
) -> Iterator[RunningServer]:
    server = RunningServer(root, *flags, env=env, program=program)
    try:
        yield server
    finally:
        server.stop()
