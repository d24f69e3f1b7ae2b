"""All cards of a desk as one file: their sounds, and a recipe to make them again."""

from __future__ import annotations

import json
import re
import tempfile
import zipfile
from typing import IO, Any

import msgspec

import editx
from editx.errors import NotFound
from editx.recipe import step_record
from editx.ui.desks import Card, Desk, Made

RECIPE = "recipe.json"


def file_name(card: Card) -> str:
    """What a card's sound is called where it is kept, such as `02-emotion-happy.wav`."""
    return f"{card.number:02d}-{_what(card)}.wav"


def archive(desk: Desk) -> IO[bytes]:
    """A zip of every card's wav and `recipe.json`, at its beginning; closing it deletes it.

    Raises NotFound when the desk is cleared meanwhile.
    """
    file = tempfile.TemporaryFile()  # noqa: SIM115 - whoever reads it closes it
    try:
        with zipfile.ZipFile(file, "w") as zipped:
            for card in desk.cards:
                zipped.write(card.sound.path, file_name(card))
            zipped.writestr(RECIPE, json.dumps(recipe(desk), ensure_ascii=False, indent=2) + "\n")
        file.seek(0)
    except FileNotFoundError:
        file.close()
        raise NotFound("these cards were cleared while they were packed") from None
    except BaseException:
        file.close()
        raise
    return file


def recipe(desk: Desk) -> dict[str, Any]:
    """How every card came about.

    A card's `steps`, applied to its `source` by `POST /v1/audio/edits`, make it again; `step` makes it from its
    `parent`. `chosen` is the card that is edited next, and the `steps` beside it are that card's.
    """
    return {
        "editx": editx.__version__,
        "chosen": desk.chosen,
        "steps": _steps(desk.chain(desk.chosen)),
        "cards": [_record(desk, card) for card in desk.cards],
    }


def _record(desk: Desk, card: Card) -> dict[str, Any]:
    chain = desk.chain(card.number)
    record: dict[str, Any] = {
        "card": card.number,
        "file": file_name(card),
        "seconds": round(card.sound.seconds, 3),
        "transcript": card.transcript,
    }
    if card.made is None:
        return record | {"origin": card.origin}
    return record | {
        "source": chain[0].number,
        "parent": card.parent,
        "step": step_record(card.made.step),
        "steps": _steps(chain),
        **_drawn(card.made),
    }


def _steps(chain: tuple[Card, ...]) -> list[dict[str, Any]]:
    return [step_record(card.made.step) for card in chain if card.made is not None]


def _drawn(made: Made) -> dict[str, Any]:
    """What the tokens were drawn by; of the sampling only what was chosen."""
    chosen = {name: value for name, value in msgspec.to_builtins(made.sampling).items() if value is not None}
    return {"variant": made.variant, "seed": made.seed} | ({"sampling": chosen} if chosen else {})


def _what(card: Card) -> str:
    if card.made is None:
        return card.origin
    step = card.made.step
    return re.sub(r"[^a-z_]+", "-", f"{step.kind}-{step.option}".lower()).strip("-")
