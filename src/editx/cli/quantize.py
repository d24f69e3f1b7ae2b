"""`editx quantize`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from editx.cli.console import print_json
from editx.cli.native import need_torch
from editx.cli.options import AsJson, with_settings
from editx.cli.waiting import cancellable, showing_stages
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.cancellation import Cancellation
    from editx.engines.step.quantize import Quantized


@with_settings(("model_path",))
def quantize(
    settings: Settings,
    variant: Annotated[str, typer.Argument(metavar="VARIANT", help="awq or bnb.", show_default=False)],
    group: Annotated[int, typer.Option(min=8, help="awq: weights that share a scale; a multiple of 8.")] = 128,
    force: Annotated[bool, typer.Option("--force", help="Replace a directory that exists.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make the int4 (awq) or NF4 (bnb) weights from the bfloat16 ones.

    Rounds to nearest, in the published layout, into the directory where the variant belongs. Needs no GPU.
    """
    need_torch("quantise weights")
    from editx.cli.orders import Stage
    from editx.engines.step.quantize import quantize as make

    with showing_stages() as notify:

        def report(done: int, total: int) -> None:
            notify(Stage("rounding", done / total))

        def work(cancellation: Cancellation) -> Quantized:
            return make(
                settings.model_path, variant, group=group, force=force, report=report, cancellation=cancellation
            )

        made = cancellable(work)
    if as_json:
        print_json({
            "directory": str(made.directory), "source_bytes": made.source_bytes, "bytes": made.bytes,
            "relative_error": made.error,
        })  # fmt: skip
    else:
        print(
            f"{made.directory}: {made.source_bytes / 1e9:.2f} GB became {made.bytes / 1e9:.2f} GB; "
            f"the weights are {made.error:.1%} off"
        )
