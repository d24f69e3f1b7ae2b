"""What goes to the terminal: results to stdout, everything else to stderr, and the exit code of every error."""

from __future__ import annotations

import json
import logging
import sys
from typing import TYPE_CHECKING, Any

from editx import errors

if TYPE_CHECKING:
    from rich.console import Console

    from editx.settings import Settings

WIDE = 1_000
"""Columns of output that goes to a file or a pipe, where nothing needs to be wrapped."""

_PLAIN: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
"""Text is printed as it is: [Laughter] and :smile: may be the words of a voice."""

EXIT_CODES: dict[type[errors.EditXError], int] = {
    errors.EditXError: 1,
    errors.InvalidRequest: 2,
    errors.NotFound: 3,
    errors.Conflict: 4,
    errors.TooLarge: 5,
    errors.ModelUnavailable: 6,
    errors.QueueFull: 7,
    errors.Stalled: 8,
    errors.StorageFailed: 9,
    errors.EngineFault: 70,
    errors.Cancelled: 130,
}
"""The one map from errors to exit codes. A kind that is not listed has that of its nearest listed ancestor."""


_FLAGS = {
    "transcript": "--transcript", "variant": "--variant", "seed": "--seed", "voice": "--voice", "speed": "--speed",
    "language": "--language", "response_format": "--format", "text": "TEXT", "file": "FILE", "name": "NAME",
    "data_dir": "--data-dir", "config": "--config", "port": "--port",
}  # fmt: skip
"""Where on a command line the parameters that errors name are given."""


def exit_code_of(error: errors.EditXError) -> int:
    """The exit code of an error."""
    return next(EXIT_CODES[kind] for kind in type(error).__mro__ if kind in EXIT_CODES)


def error_record(error: errors.EditXError) -> dict[str, Any]:
    """An error as `--json` and the journal of a batch show it."""
    return {"code": error.code, "message": error.message, "param": error.param, "exit_code": exit_code_of(error)}


def report_error(error: errors.EditXError, *, as_json: bool) -> int:
    """Say what went wrong, on stderr in red, or on stdout as JSON. Returns the exit code."""
    if as_json:
        print_json({"error": error_record(error)})
    else:
        from rich.text import Text

        param = _FLAGS.get(error.param or "", error.param)
        named = f" ({param})" if param and param not in error.message else ""
        stderr().print(Text(f"error: {error.message}{named}", style="red"), soft_wrap=True)
    return exit_code_of(error)


def print_json(value: object) -> None:
    """The machine-readable result of a command: one JSON document on stdout."""
    print(json.dumps(value, ensure_ascii=False, indent=2))


def stdout() -> Console:
    """For results and tables."""
    from rich.console import Console

    return Console(**_PLAIN, width=None if sys.stdout.isatty() else WIDE)


def stderr() -> Console:
    """For progress and complaints."""
    from rich.console import Console

    return Console(**_PLAIN, stderr=True)


def log_to_stderr(settings: Settings) -> None:
    """Send the log of work done in this process to stderr: warnings only, unless a level was asked for."""
    level = settings.log_level if "log_level" in settings.model_fields_set else "warning"
    logging.basicConfig(level=level.upper(), format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    logging.getLogger("httpx").setLevel(logging.WARNING)
