"""`editx synth-checkpoint`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from editx.cli.console import print_json, stderr
from editx.cli.options import AsJson


def synth_checkpoint(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="Model directory to write to.", show_default=False)],
    size: Annotated[
        str, typer.Option(help="tiny: 55 MB, for tests; full: the published sizes, 10 GB, for benchmarks.")
    ] = "tiny",
    variant: Annotated[
        list[str] | None,
        typer.Option(help="base, awq or bnb; give it again for several. The default is base.", show_default=False),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Decides all weights.")] = 0,
    force: Annotated[bool, typer.Option("--force", help="Replace directories that exist.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write model directories with random weights in the published layout.

    They load, serve and stream like the real ones, and speak noise. For tests and benchmarks.
    """
    from editx.cli.native import need_torch

    need_torch("write a checkpoint")
    from editx.engines.step.synth.checkpoint import write_checkpoint

    console = stderr()

    def report(name: str) -> None:
        if not as_json:
            console.print(f"writing {name}", soft_wrap=True)

    written = write_checkpoint(directory, variant or ["base"], size=size, seed=seed, force=force, report=report)
    sizes = {path: sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in written}
    if as_json:
        print_json([{"directory": str(path), "bytes": count} for path, count in sizes.items()])
    else:
        for path, count in sizes.items():
            print(f"{path}  {count / 1e6:.1f} MB")
