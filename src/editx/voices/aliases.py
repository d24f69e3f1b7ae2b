"""OpenAI's voice names, which every client knows, as other names of built-in voices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Protocol

_FEMALE, _MALE = "female", "male"
_GENDERS = {
    "alloy": _FEMALE, "ash": _MALE, "ballad": _MALE, "coral": _FEMALE, "echo": _MALE, "fable": _MALE, "nova": _FEMALE,
    "onyx": _MALE, "sage": _FEMALE, "shimmer": _FEMALE, "verse": _MALE, "marin": _FEMALE, "cedar": _MALE,
}  # fmt: skip
OPENAI_NAMES = tuple(_GENDERS)


class Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def title(self) -> str: ...
    @property
    def description(self) -> str: ...
    @property
    def locale(self) -> str | None: ...


def assign(voices: Sequence[Described]) -> dict[str, str]:
    """OpenAI's names and the voice each stands for; none when there are no voices.

    Names are spread in order over the voices of their gender, English ones first, as far as titles and descriptions
    tell; else over all voices.
    """
    if not voices:
        return {}
    english_first = sorted(voices, key=lambda voice: not (voice.locale or "").lower().startswith("en"))
    table: dict[str, str] = {}
    for gender in (_FEMALE, _MALE):
        suitable = [voice for voice in english_first if _gender(voice) == gender] or english_first
        names = [name for name, theirs in _GENDERS.items() if theirs == gender]
        table |= {name: suitable[i % len(suitable)].name for i, name in enumerate(names)}
    return {name: table[name] for name in OPENAI_NAMES}


def _gender(voice: Described) -> str | None:
    words = f"{voice.title} {voice.description}".lower()
    if re.search(r"\b(female|woman|woman's|girl|feminine)\b", words):
        return _FEMALE
    return _MALE if re.search(r"\b(male|man|man's|boy|masculine)\b", words) else None
