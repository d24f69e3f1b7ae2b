"""`editx clone`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from editx.cli.options import ENGINE_SETTINGS, ApiKey, AsJson, Force, Format, Seed, Server, Variant, with_settings
from editx.errors import InvalidRequest, MissingTranscript, named
from editx.settings import Settings

_FLAGS = {
    "input": "TEXT", "text": "TEXT", "file": "--ref", "prompt_audio_file": "--ref", "transcript": "--ref-text",
    "step_audio.prompt_text": "--ref-text", "model": "--variant", "step_audio.model_variant": "--variant",
}  # fmt: skip
"""Where the parameters that the studio, or a server, complains of are given here."""


@with_settings(ENGINE_SETTINGS)
def clone(
    settings: Settings,
    text: Annotated[
        str, typer.Argument(metavar="TEXT", help="What to say; - reads it from stdin.", show_default=False)
    ],
    out: Annotated[
        Path, typer.Option("-o", "--out", metavar="OUT", help="File to write; - writes to stdout.", show_default=False)
    ],
    voice: Annotated[
        str | None, typer.Option("--voice", metavar="NAME", help="A voice of the library (editx voices list).")
    ] = None,
    ref: Annotated[
        Path | None, typer.Option("--ref", metavar="FILE", help="A recording of the voice to clone, 3 to 30 s.")
    ] = None,
    ref_text: Annotated[
        str | None, typer.Option("--ref-text", metavar="TEXT", help="The words spoken in that recording.")
    ] = None,
    emotion: Annotated[
        str | None, typer.Option("--emotion", metavar="NAME", help="Then give it a feeling, such as happy.")
    ] = None,
    style: Annotated[
        str | None, typer.Option("--style", metavar="NAME", help="Then give it a manner, such as whisper.")
    ] = None,
    language: Annotated[
        str | None,
        typer.Option("--language", metavar="TAG", help="Of the text, such as ja or yue; else by its script."),
    ] = None,
    speed: Annotated[
        float, typer.Option("--speed", metavar="FACTOR", help="Play it faster or slower at the same pitch, 0.25 to 4.")
    ] = 1.0,
    variant: Variant = None,
    seed: Seed = None,
    format: Format = None,
    force: Force = False,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Say TEXT in the voice of a recording, or in one of the library.

    \b
    editx clone "Good morning!" --voice alloy -o morning.mp3
    editx clone "Good morning!" --ref me.wav --ref-text "What I say." -o morning.mp3
    """
    from editx.cli import making
    from editx.cli.files import check_free, choose_format
    from editx.cli.orders import Order
    from editx.recipe import Clone, Emotion, Style
    from editx.text import with_language

    if (voice is None) == (ref is None):
        raise InvalidRequest(
            "a voice is cloned from --voice NAME or from --ref FILE; give one of them", param="--voice"
        )
    if ref is not None and not (ref_text or "").strip():
        raise MissingTranscript("--ref needs --ref-text, the words spoken in that recording", param="--ref-text")
    if ref is None and ref_text is not None:
        raise InvalidRequest("--ref-text belongs to --ref; a voice of the library knows its words", param="--ref-text")
    if out == making.STDOUT and as_json:
        raise InvalidRequest("--json and audio cannot both go to stdout; name a file with -o", param="--out")
    format = choose_format(out, format)
    if out != making.STDOUT:
        check_free([out], force=force)
    order = Order(
        steps=(
            Clone(with_language(_read_text(text), language)),
            *([Emotion(emotion)] if emotion is not None else []),
            *([Style(style)] if style is not None else []),
        ),
        voice=voice,
        recording=ref,
        transcript=ref_text or "",
        variant=variant,
        seed=seed,
        speed=speed,
        format=format,
    )
    with named(_FLAGS):
        made = making.make_one(order, settings, server, api_key)
    making.write(made, out)
    making.announce(made, out, format, as_json=as_json)


def _read_text(text: str) -> str:
    if text != "-":
        return text
    try:
        return sys.stdin.buffer.read().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidRequest(
            f"the text on stdin is not UTF-8: {error.reason} at byte {error.start}", param="text"
        ) from None
