"""What the pages name exists: commands and their flags, variables, HTTP paths, make targets, files."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest
import typer.main

from editx.cli.app import app
from editx.server.app import create_app
from editx.settings import Settings
from editx.ui.words import words
from tests.docs.pages import PAGES, ROOT, WRITTEN_FROM_CODE, Page

CHECKED = [page for page in PAGES if page.path not in WRITTEN_FROM_CODE]
OURS = (*ROOT.glob("deploy/*.sh"), *ROOT.glob("scripts/*.py"), *ROOT.glob("scripts/*.sh"), *ROOT.glob("bench/*.py"))
"""Programs besides `editx` whose flags the pages mention."""

HELP = ("-h", "--help")

_CALL = re.compile(r"(?:^|[\s;|]|bin/)editx((?: (?:\"[^\"]*\"|[^\s;|&)])+)*)(?=$|[\s;|&)])")
_PATH = re.compile(
    r"(?<![\w.$}])(?:http://(?:127\.0\.0\.1|HOST):7860)?(/(?:v1|api)/[\w/{}-]+|/(?:health|ready|metrics)\w*)"
)
_TREE = re.compile(r"(?:src|deploy|scripts|bench|docs|tests)/[\w./-]+|[\w/]+\.py")


@cache
def tree() -> Any:
    return typer.main.get_command(app)


def flags_of(command: Any) -> set[str]:
    return {*HELP, *(name for param in command.params for name in (*param.opts, *param.secondary_opts))}


def all_commands(command: Any) -> Iterator[Any]:
    yield command
    for child in getattr(command, "commands", {}).values():
        yield from all_commands(child)


@cache
def variables() -> frozenset[str]:
    """Of the settings, of options that have one, and of the start script."""
    found = {f"EDITX_{name.upper()}" for name in Settings.model_fields} | {"EDITX_CONFIG"}
    for command in all_commands(tree()):
        for param in command.params:
            found |= {param.envvar} if isinstance(param.envvar, str) else set(param.envvar or ())
    return frozenset(found).union(*(re.findall(r"EDITX_[A-Z_]+", path.read_text("utf-8")) for path in OURS))


@cache
def templates() -> tuple[str, ...]:
    """The paths the server answers."""
    server = create_app(Settings())
    return (*server.openapi()["paths"], *(path for route in server.routes if (path := getattr(route, "path", None))))


def is_file(name: str) -> bool:
    """Whether there is a file or folder of this name: from the top, or somewhere in the package."""
    return (ROOT / name).exists() or any((ROOT / "src/editx").rglob(name.rstrip("/")))


def answers(template: str, path: str) -> bool:
    """Whether a route with this template answers a path, which may have placeholders of its own."""
    return re.fullmatch(re.sub(r"\{\w+\}", "[^/]+", template), path) is not None


def stray_words(call: str) -> Iterator[str]:
    """Words of a call of `editx` that are no command or flag where one is expected."""
    command, words = tree(), iter(shlex.split(call))
    for word in words:
        flag, _, value = word.partition("=")
        option = next((param for param in command.params if flag in (*param.opts, *param.secondary_opts)), None)
        if flag.startswith("-") and option is None and flag not in HELP:
            yield word
        elif option is not None and not option.is_flag and not value:
            next(words, None)
        elif not flag.startswith("-") and hasattr(command, "commands"):
            if word not in command.commands:
                yield word
                return
            command = command.commands[word]


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_commands_and_their_flags_exist(page: Page) -> None:
    for line in page.commands:
        for call in _CALL.findall(line):
            assert not list(stray_words(call)), f"{page}: {line}"


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_flags_in_prose_exist(page: Page) -> None:
    known = {flag for command in all_commands(tree()) for flag in flags_of(command)}
    known |= {flag for path in OURS for flag in re.findall(r"--[a-z][a-z-]+", path.read_text("utf-8"))}
    mentioned = {word.split()[0].partition("=")[0] for word in page.words if word.startswith("--")}
    assert mentioned <= known, f"{page}: {mentioned - known}"


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_variables_exist(page: Page) -> None:
    mentioned = set(re.findall(r"EDITX_[A-Z_]*[A-Z]", page.text))
    assert mentioned <= variables(), f"{page}: {mentioned - variables()}"


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_paths_are_answered(page: Page) -> None:
    for text in (*page.words, *(block.text for block in page.blocks)):
        for path in _PATH.findall(text):
            assert any(answers(template, path) for template in templates()), f"{page}: {path}"


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_make_targets_exist(page: Page) -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
    mentioned = {name for line in page.commands for name in re.findall(r"(?:^|\s)make ([a-z]+)", line)}
    assert mentioned <= targets, f"{page}: {mentioned - targets}"


@pytest.mark.parametrize("page", CHECKED, ids=str)
def test_files_exist(page: Page) -> None:
    for text in (*page.commands, *page.words):
        for name in _TREE.findall(text):
            assert is_file(name), f"{page}: {name}"


@pytest.mark.parametrize("page", [Page("docs/page.md"), Page("docs/zh/page.md")], ids=str)
def test_labels_are_those_of_the_page(page: Page) -> None:
    """What the guide to the page sets in bold is a button, a field or a tab."""
    labels = set(words("zh" if page.chinese else "en").values())
    named = re.findall(r"\*\*([^*]+)\*\*", page.prose.replace("\n", " "))
    assert len(named) > 10
    assert set(named) <= labels, f"{page}: {set(named) - labels}"
