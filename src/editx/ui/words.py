"""Every word of the page, in each language: `words/<language>.toml`, one table a tab."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from editx.errors import EditXError

LANGUAGES = ("en", "zh")
NAMES = {"en": "English", "zh": "中文"}
LOCALES = {"en": "en", "zh": "zh-CN"}
"""As browsers, screen readers and Gradio's own words call them."""

COOKIE = "editx_lang"


class Words(Mapping[str, str]):
    """The words of one language by dotted key, such as `clone.generate`. Call it to fill in `{fields}`."""

    def __init__(self, language: str, table: dict[str, str]) -> None:
        self.language = language
        self._table = table

    def __getitem__(self, key: str) -> str:
        return self._table[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._table)

    def __len__(self) -> int:
        return len(self._table)

    def __call__(self, key: str, **fields: object) -> str:
        """The words at `key` with `fields` filled in. Raises KeyError for a key or field that is not there."""
        return self._table[key].format(**fields) if fields else self._table[key]

    def of(self, table: str) -> dict[str, str]:
        """The words of one table, by the rest of their keys."""
        return {key.removeprefix(f"{table}."): value for key, value in self.items() if key.startswith(f"{table}.")}

    def error(self, error: EditXError) -> str:
        """What went wrong, as a sentence for a person. In another language than English it is what that has for the
        message, else for the kind of error; what is no whole sentence is followed by the message as it is."""
        said = self._table.get(f"error.{error.code}")
        if self.language == "en" or said is None:
            return error.message[:1].upper() + error.message[1:]
        for pattern, text in self.of("detail").items():
            if found := re.match(pattern, error.message):
                return re.sub(r"\{(\d)\}", lambda hole: found[int(hole[1])], text)
        return said if said.endswith("。") else f"{said}（{error.message}）"

    def as_json(self) -> str:
        """For the scripts of the page; safe inside a `<script>`."""
        return json.dumps(self._table, ensure_ascii=False).replace("<", "\\u003c")


@cache
def words(language: str) -> Words:
    """The words of `language`, one of `LANGUAGES`."""
    text = files("editx.ui").joinpath(f"words/{language}.toml").read_text("utf-8")
    return Words(language, dict(_flat(tomllib.loads(text), "")))


def choose(query: str | None, cookie: str | None, accept_language: str) -> str:
    """The language of a visitor: the one asked for, else the one chosen before, else the browser's."""
    for wanted in (query, cookie):
        if wanted in LANGUAGES:
            return wanted
    for item in accept_language.lower().split(","):
        language = item.partition(";")[0].strip().partition("-")[0]
        if language in LANGUAGES:
            return language
    return LANGUAGES[0]


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield prefix + key, value
