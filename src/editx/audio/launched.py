"""Decoding in the server's own kind of child process: `Decoder(run_child=launched(launcher))`.

A child forked by the launcher's zygote starts faster than an interpreter, and dies with the server like every other.
"""

from __future__ import annotations

import importlib
import os
import socket
from typing import Any

from editx.audio.child import ChildFailed, ChildTimedOut, RunChild
from editx.audio.limits import AudioLimits
from editx.cancellation import Cancellation
from editx.processes import failures
from editx.processes.child import read_payload, write_answer
from editx.processes.launcher import Launcher
from editx.processes.limits import Limits

LABEL = "decoder"


def launched(launcher: Launcher, cancellation: Cancellation | None = None) -> RunChild:
    """A `RunChild` whose children come from `launcher`; `cancellation` kills them, and it raises Cancelled then."""

    def run(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes | bytearray:
        try:
            return launcher.call(
                "editx.audio.launched:serve",
                payload,
                label=LABEL,
                timeout=timeout,
                args={"entry": entry},
                limits=Limits(address_space=limits.address_space_bytes, cpu_seconds=limits.cpu_seconds, file_size=0),
                max_answer=limits.output_bytes,
                hurried=True,
                cancellation=cancellation,
            )
        except failures.ChildTimedOut as error:
            raise ChildTimedOut(str(error)) from None
        except failures.ChildFailed as error:
            code = error.exit_code
            raise ChildFailed(str(error), signal=-code if code is not None and code < 0 else None) from None

    return run


def serve(sock: socket.socket, args: dict[str, Any]) -> None:
    """In the child: answer the one payload with what the entry makes of it."""
    os.environ.clear()  # a stranger's file has no business with the server's secrets
    module, _, function = args["entry"].partition(":")
    write_answer(sock, getattr(importlib.import_module(module), function)(read_payload(sock)))
