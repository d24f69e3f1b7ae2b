"""What `clone`, `edit` and `batch` share: where the model runs, and how a finished file is announced."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from editx.cli.console import log_to_stderr, print_json
from editx.cli.orders import Made, Maker, Order
from editx.cli.waiting import cancellable, showing_stages
from editx.settings import Settings

STDOUT = Path("-")


@contextlib.contextmanager
def open_maker(settings: Settings, server: str | None, api_key: str | None) -> Iterator[Maker]:
    """The engine of a server where one is named, else one in this process, gone when the context ends."""
    log_to_stderr(settings)
    if server:
        from editx.cli.remote import Connection, RemoteMaker

        yield RemoteMaker(Connection(server, api_key))
        return
    from editx.cli.local import LocalMaker
    from editx.workshop import open_workshop

    with open_workshop(settings, lambda event: None) as workshop:
        yield LocalMaker(workshop)


def make_one(order: Order, settings: Settings, server: str | None, api_key: str | None) -> Made:
    """Carry out one order, with a progress bar; Ctrl-C cancels it."""
    with showing_stages() as notify, open_maker(settings, server, api_key) as maker:
        return cancellable(lambda cancellation: maker.make(order, notify, cancellation))


def record(made: Made, out: Path, format: str) -> dict[str, Any]:
    """What was made, as `--json` shows it."""
    return {
        "out": str(out),
        "format": format,
        "seconds": round(made.seconds, 3),
        "variant": made.variant,
        "seed": made.seed,
        "finish_reason": made.finish_reason,
        "timings": {name: round(seconds, 3) for name, seconds in made.timings.items()},
    }


def announce(made: Made, out: Path, format: str, *, as_json: bool) -> None:
    """Say what was made and where it is."""
    if as_json:
        print_json(record(made, out, format))
    elif out != STDOUT:
        print(f"{out}  {made.seconds:.2f} s of audio, variant {made.variant}, seed {made.seed}")
    if made.finish_reason == "length" and not as_json:
        print("warning: the result reached its limit and was cut there; try another seed", file=sys.stderr)


def write(made: Made, out: Path) -> None:
    """Write the audio to its file, or to stdout."""
    from editx.cli.files import write_whole

    if out == STDOUT:
        sys.stdout.buffer.write(made.data)
        sys.stdout.buffer.flush()
    else:
        write_whole(out, made.data)
