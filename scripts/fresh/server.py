"""A server in a tree: started, waited for, used, stopped."""

from __future__ import annotations

import array
import base64
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

START_TIMEOUT_S = 300
STOP_TIMEOUT_S = 60
RATE_HZ = 24_000
QUIET = 1000
SPEECH = "/v1/audio/speech"
TEXT = "A fresh machine speaks for the first time, and everybody can hear it."
PLAUSIBLE_S = (2.0, 12.0)
"""What those words take: nobody says them in less, nobody drags them out to more."""


class Refused(Exception):
    """The server did not do what it should."""


class Server:
    """`command` runs until `stop`; its output is shown, and read for the address that it listens on."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            command,
            env=dict(environment),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._address: str | None = None
        self._said = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            print("    | " + line.rstrip(), flush=True)
            if match := re.search(r"EditX is listening on http://\S+?:(\d+)", line):
                self._address = f"127.0.0.1:{match[1]}"
                self._said.set()
        self._said.set()

    def wait(self) -> None:
        """Until /readyz answers 200. Raises Refused where it does not in time."""
        self._said.wait(START_TIMEOUT_S)
        if self._address is None:
            raise Refused(f"the server did not say that it listens within {START_TIMEOUT_S} s")
        self._answer("GET", "/readyz")

    def ask(self, method: str, path: str, body: object = None) -> tuple[int, bytes]:
        assert self._address is not None, "wait() comes first"
        connection = http.client.HTTPConnection(self._address, timeout=120)
        try:
            text = None if body is None else json.dumps(body)
            connection.request(method, path, text, {"Content-Type": "application/json"})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def use(self) -> float:
        """The page, speech, and a clone of that speech from its recording; seconds of the clone.

        Raises Refused where any of it is not what it should be.
        """
        self._answer("GET", "/")
        voice = self._answer("POST", SPEECH, {"model": "tts-1", "voice": "alloy", "input": TEXT})
        reference = {"prompt_audio_base64": base64.b64encode(voice).decode(), "prompt_text": TEXT}
        clone = self._answer(
            "POST", SPEECH, {"model": "tts-1", "input": TEXT, "response_format": "pcm", "step_audio": reference}
        )
        samples = array.array("h", clone)
        seconds = len(samples) / RATE_HZ
        if not PLAUSIBLE_S[0] < seconds < PLAUSIBLE_S[1]:
            raise Refused(f"the clone lasts {seconds:.2f} s; {PLAUSIBLE_S[0]} to {PLAUSIBLE_S[1]} s would be speech")
        if max(samples) < QUIET:
            raise Refused("the clone is silent")
        return seconds

    def _answer(self, method: str, path: str, body: object = None) -> bytes:
        status, answer = self.ask(method, path, body)
        if status != http.client.OK:
            raise Refused(f"{method} {path} answered {status}: {answer[:500]!r}")
        return answer

    def stop(self) -> int:
        """SIGTERM to what the command started, as an engine sends it into a container; the exit code."""
        try:
            for pid in self._children():
                os.kill(pid, signal.SIGTERM)
            return self._process.wait(STOP_TIMEOUT_S)
        finally:
            self._process.kill()
            self._process.wait()
            self._reader.join(10)

    def _children(self) -> list[int]:
        pid = self._process.pid
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
