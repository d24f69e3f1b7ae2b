"""`editx bench`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from editx.cli.console import log_to_stderr, print_json, stdout
from editx.cli.options import AsJson, Variant, with_settings
from editx.cli.waiting import cancellable, showing_stages
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.cli.measuring import Memory, Speed, Table


@with_settings(
    ("model_path", "data_dir", "device", "gpu_memory_budget", "stall_timeout", "worker_memory_limit", "log_level")
)
def bench(
    settings: Settings,
    variant: Variant = None,
    runs: Annotated[
        int, typer.Option("--runs", metavar="N", min=1, max=100, help="Warm runs of each kind; their median is shown.")
    ] = 3,
    as_json: AsJson = False,
) -> None:
    """Measure how fast this machine clones and edits, and what memory that takes.

    A sentence is cloned and a recording edited, each once cold, which includes loading the model, and then warm. The
    model runs as for `editx clone`, in a worker process that is ended at the end. A server that runs beside it takes
    its share of the machine: unload its models first, or stop it.
    """
    from editx.cli.measuring import measure
    from editx.workshop import open_workshop

    log_to_stderr(settings)
    with showing_stages() as notify, open_workshop(settings, lambda event: None) as workshop:
        found = cancellable(lambda cancellation: measure(workshop, variant, runs, notify, cancellation))
    if as_json:
        print_json(asdict(found))
    else:
        _show(found)


def _show(found: Table) -> None:
    from rich import table

    from editx.cli.measuring import EDIT, TEXT, VOICE

    shown = table.Table("", "load", "first audio", "real-time factor", "audio", box=None, pad_edge=False)
    for name, speed in (
        ("clone, cold", found.clone.cold), ("clone, warm", found.clone.warm),
        ("edit, cold", found.edit.cold), ("edit, warm", found.edit.warm),
    ):  # fmt: skip
        shown.add_row(name, *_cells(speed))
    console = stdout()
    console.print(shown)
    console.print(f"memory of the worker: {_gigabytes(found.loaded)}; after unload: {_gigabytes(found.unloaded)}")
    console.print(
        f"\nMeasured with the variant {found.variant}: {TEXT!r} said in the voice {VOICE}, and the recording of that "
        f"voice edited with {EDIT.kind}:{EDIT.option}. Cold: the model is loaded first. Warm: the median of "
        f"{found.runs}. First audio: seconds from the request to its first sound. Real-time factor: seconds of work, "
        "without the load, for each second of audio; below 1 is faster than speech.",
        soft_wrap=not console.is_terminal,
    )


def _cells(speed: Speed) -> tuple[str, ...]:
    return (
        f"{speed.load_seconds:.2f} s" if speed.load_seconds else "",
        f"{speed.first_audio_seconds:.3f} s",
        f"{speed.real_time_factor:.3f}",
        f"{speed.audio_seconds:.2f} s",
    )


def _gigabytes(memory: Memory) -> str:
    return f"{memory.ram_gb:.2f} GB of RAM, {memory.gpu_gb:.2f} GB of GPU memory"
