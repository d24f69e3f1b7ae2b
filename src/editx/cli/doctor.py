"""`editx doctor`."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editx.cli.console import print_json, stdout
from editx.cli.options import AsJson, with_settings
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.doctor import Check

COULD_NOT_SERVE = 1
_COLOURS = {"ok": "green", "warn": "yellow", "fail": "red"}
DOCTOR_SETTINGS = (
    "model_path", "data_dir", "default_variant", "device", "max_batch", "gpu_memory_budget", "host", "port", "zygote",
    "max_body",
)  # fmt: skip


@with_settings(DOCTOR_SETTINGS)
def doctor(
    settings: Settings,
    verify: Annotated[
        bool, typer.Option("--verify", help="Also compare every file of the weights with what was recorded of it.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Tell what would work here, what would not, and what to do about it. Exits with 1 if EditX could not serve.

    `--verify` reads all weights, which takes a while; `pull`, `quantize` and `synth-checkpoint` leave the record.
    """
    import editx
    from editx.doctor import diagnose

    if as_json:
        found = diagnose(settings, verify=verify)
        print_json({
            "could_serve": found.could_serve,
            "variant": found.variant,
            "version": editx.__version__,
            "checks": [asdict(check) for check in found.checks],
            "settings": _shown(settings),
        })  # fmt: skip
    else:
        console = stdout()
        width = len("temporary files")

        def show(check: Check) -> None:
            from rich.text import Text

            line = Text.assemble(
                (f"{check.status:<5}", _COLOURS[check.status]), f"{check.name:<{width}}  {check.detail}"
            )
            console.print(line, soft_wrap=True)
            if check.remedy:
                console.print(Text(f"{'':<5}{'':<{width}}  → {check.remedy}"), soft_wrap=True)

        found = diagnose(settings, show, verify=verify)
        console.print(
            f"\nEditX would serve here, with the variant {found.variant}." if found.could_serve
            else "\nEditX would not serve here; see the lines marked fail."
        )  # fmt: skip
    if not found.could_serve:
        raise typer.Exit(COULD_NOT_SERVE)


def _shown(settings: Settings) -> dict[str, Any]:
    """The settings in effect; of keys only how many there are."""
    return settings.model_dump(mode="json", exclude={"api_key"}) | {"api_keys": len(settings.api_key)}
