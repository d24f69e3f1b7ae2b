"""`editx edit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from editx.cli.options import ENGINE_SETTINGS, ApiKey, AsJson, Force, Format, Seed, Server, Variant, with_settings
from editx.errors import InvalidRequest
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.cli.orders import Made, Order
    from editx.recipe import AnyStep


@with_settings(ENGINE_SETTINGS)
def edit(
    settings: Settings,
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The recording; - reads it from stdin.", show_default=False)
    ],
    step: Annotated[
        list[str],
        typer.Option(
            "--step",
            metavar="STEP",
            help="TYPE, TYPE:OPTION or TYPE:TEXT, in the order given: emotion:happy, style:whisper, speed:faster, "
            "'paralinguistic:Well [Laughter] yes', denoise, vad.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None, typer.Option("-o", "--out", metavar="OUT", help="File to write; - writes to stdout.")
    ] = None,
    n: Annotated[int, typer.Option("-n", "--n", metavar="N", help="Apply each step N times.")] = 1,
    transcript: Annotated[
        str, typer.Option("--transcript", metavar="TEXT", help="The words in the recording; denoise and vad need none.")
    ] = "",
    all_to: Annotated[
        Path | None,
        typer.Option("--all", metavar="DIR", help="Also write what every step made, and recipe.json, to this folder."),
    ] = None,
    variant: Variant = None,
    seed: Seed = None,
    format: Format = None,
    force: Force = False,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Edit a recording of speech, step by step.

    \b
    editx edit me.wav --step denoise -o clean.wav
    editx edit me.wav --transcript "What I say." --step emotion:happy -o happy.wav
    """
    from editx.cli import making
    from editx.cli.files import check_free, choose_format, make_folder, write_whole
    from editx.cli.orders import Order

    if out is None and all_to is None:
        raise InvalidRequest("nothing would be written; give -o OUT, or --all DIR", param="--out")
    if out == making.STDOUT and as_json:
        raise InvalidRequest("--json and audio cannot both go to stdout; name a file with -o", param="--out")
    steps = tuple(one for given in step for one in parse_step_flag(given, n))
    format = choose_format(out, format) if out is not None else choose_format(Path("x.wav"), format)
    targets = [] if all_to is None else [all_to / _name(i, one, format) for i, one in enumerate(steps, 1)]
    if all_to is not None:
        make_folder(all_to)
        check_free([*targets, all_to / "recipe.json"], force=force)
    if out is not None and out != making.STDOUT:
        check_free([out], force=force)
    order = Order(
        steps=steps,
        recording=sys.stdin.buffer.read() if file == Path("-") else file,
        transcript=transcript,
        variant=variant,
        seed=seed,
        format=format,
        keep_iterations=all_to is not None,
    )
    made = making.make_one(order, settings, server, api_key)
    if all_to is not None:
        for target, one in zip(targets, made.steps, strict=True):
            write_whole(target, one.data)
        recipe = json.dumps(_recipe(file, order, made, targets), ensure_ascii=False, indent=2) + "\n"
        write_whole(all_to / "recipe.json", recipe.encode())
    if out is not None:
        making.write(made, out)
    making.announce(made, out or targets[-1], format, as_json=as_json)


def parse_step_flag(given: str, n: int = 1) -> tuple[AnyStep, ...]:
    """The steps that `TYPE`, `TYPE:OPTION` or `TYPE:TEXT` stands for. Raises InvalidRequest saying what is allowed."""
    from editx.recipe import STEP_TYPES, parse_step

    kind, _, rest = given.partition(":")
    kind = kind.strip()
    if kind == "clone":
        raise InvalidRequest("clone is no edit; use `editx clone`", param="--step")
    data: dict[str, Any] = {"type": kind, "n": n}
    if rest:
        data["text" if kind in STEP_TYPES and STEP_TYPES[kind].takes_text else "info"] = rest.strip()
    try:
        return parse_step(data)
    except InvalidRequest as error:
        param = "--n" if error.param == "steps.n" else "--step"
        raise InvalidRequest(
            f"{given!r}: {error.message}" if param == "--step" else error.message, param=param
        ) from None


def _name(number: int, step: AnyStep, format: str) -> str:
    option = f"-{step.option.replace(' ', '-')}" if step.option else ""
    return f"{number:02d}-{step.kind}{option}.{format}"


def _recipe(file: Path, order: Order, made: Made, targets: list[Path]) -> dict[str, Any]:
    """Everything needed to make the same again, and what came of it."""
    from editx.recipe import step_record

    return {
        "source": str(file),
        "transcript": order.transcript,
        "variant": made.variant,
        "seed": made.seed,
        "timings": {name: round(seconds, 3) for name, seconds in made.timings.items()},
        "steps": [
            step_record(one.step)
            | {"file": target.name, "seconds": round(one.seconds, 3), "transcript": one.transcript}
            for target, one in zip(targets, made.steps, strict=True)
        ],
    }
