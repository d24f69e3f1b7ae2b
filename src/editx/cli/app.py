"""`editx`: all commands, and the one place where errors end."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Sequence
from typing import Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand
from typer.exceptions import TyperException

import editx
from editx.cli import batch, bench, clone, doctor, edit, models, pull, quantize, serve, synth, voices
from editx.cli.console import EXIT_CODES, report_error
from editx.errors import NO_ROOM, Cancelled, EditXError, InvalidRequest, unwritable


class _Command(TyperCommand):
    """A command whose usage line shows its arguments plainly."""

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]


app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for _name, _command, _summary in (
    ("serve", serve.serve, "Serve the HTTP API."),
    ("clone", clone.clone, "Say a text in a cloned voice."),
    ("edit", edit.edit, "Edit a recording, step by step."),
    ("batch", batch.batch, "Run many jobs from a manifest."),
):
    app.command(name=_name, short_help=_summary, cls=_Command)(_command)
app.add_typer(voices.app, name="voices", short_help="List, add, show, rename and delete voices.")
app.add_typer(models.app, name="models", short_help="List variants; load and unload them in a server.")
for _name, _command, _summary in (
    ("pull", pull.pull, "Download the published weights."),
    ("quantize", quantize.quantize, "Make the int4 or NF4 weights from the bfloat16 ones."),
    ("synth-checkpoint", synth.synth_checkpoint, "Write random weights in the published layout."),
):
    app.command(name=_name, short_help=_summary, cls=_Command)(_command)
app.command(name="bench", short_help="Measure speed and memory on this machine.")(bench.bench)
app.command(name="doctor", short_help="Tell what would work here, and why not.")(doctor.doctor)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"editx {editx.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", help="Print the version and exit.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Clone voices and edit recorded speech with Step-Audio-EditX.

    Everything runs in this process, or through a running server where --server names one.
    """
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_CODES[InvalidRequest])


_REFUSALS = (*NO_ROOM, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.ELOOP)
"""What a system says about the files it was given; every other OSError is a fault of ours."""


def main() -> NoReturn:
    """Run the command line of this process, and exit with its code."""
    if sys.stdout is None:  # it was closed before the start
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115 - it lives as long as the process
    for stream in (sys.stdout, sys.stderr):
        if stream is not None:  # a terminal that has no character for a word is no reason to fail
            stream.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; errors raised on purpose become a line on stderr."""
    as_json = "--json" in arguments
    try:
        _check_text(arguments)
        code = app(list(arguments), prog_name="editx", standalone_mode=False)
        sys.stdout.flush()
    except EditXError as error:
        return report_error(error, as_json=as_json)
    except TyperException as error:
        return report_error(_usage(error), as_json=as_json)
    except (KeyboardInterrupt, typer.Abort):
        return report_error(Cancelled("interrupted"), as_json=as_json)
    except OSError as error:
        if error.filename is None and error.errno in (errno.EPIPE, *NO_ROOM):
            return _unprintable(error)
        if error.errno not in _REFUSALS:
            raise
        return report_error(_refused(error), as_json=as_json)
    return code if isinstance(code, int) else 0


def _unprintable(error: OSError) -> int:
    """The end when stdout takes no more: quietly when its reader has gone, as of `| head`."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is left in its buffer goes there at the exit
    return 1 if error.errno == errno.EPIPE else report_error(_refused(error), as_json=False)


def _refused(error: OSError) -> EditXError:
    what = f"{os.fsdecode(error.filename)} cannot be used" if error.filename is not None else "cannot write to stdout"
    return unwritable(what, error)


def _check_text(arguments: Sequence[str]) -> None:
    """Refuse arguments that are not text: nobody could speak, store or print them."""
    for number, argument in enumerate(arguments, 1):
        if any("\ud800" <= char <= "\udfff" for char in argument):
            raise InvalidRequest(f"argument {number} is not UTF-8: {argument!a}")


def _usage(error: TyperException) -> EditXError:
    context = getattr(error, "ctx", None)
    where = context.command_path if context is not None else "editx"
    message = error.format_message().rstrip(".").replace("\n", " ")
    return InvalidRequest(f"{message[:1].lower()}{message[1:]}; see `{where} --help`")
