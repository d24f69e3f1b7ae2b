"""Reads a Dockerfile: stages, their instructions, and the variables in them. Knows what deploy/Dockerfile uses."""

from __future__ import annotations

import fnmatch
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

KNOWN = frozenset({
    "ARG", "CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "FROM", "HEALTHCHECK", "LABEL", "RUN", "STOPSIGNAL", "USER",
    "WORKDIR",
})  # fmt: skip


class RecipeError(Exception):
    """The Dockerfile says something that cannot be followed here."""


@dataclass(frozen=True, slots=True)
class Instruction:
    name: str
    value: str
    line: int


@dataclass(frozen=True, slots=True)
class Stage:
    """`base` is an image, or the name of an earlier stage; its variables are replaced already."""

    name: str
    base: str
    instructions: tuple[Instruction, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """`arguments`: those declared before the first stage, with what they are worth."""

    arguments: Mapping[str, str]
    stages: tuple[Stage, ...]


def parse(text: str) -> list[Instruction]:
    """The instructions in order, continued lines joined as the builder joins them.

    Raises RecipeError for an instruction that is not known.
    """
    found: list[Instruction] = []
    parts: list[str] = []
    begun = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line.lstrip().startswith("#") or (not parts and not line.strip()):
            continue
        begun = begun if parts else number
        parts.append(line.removesuffix("\\"))
        if line.endswith("\\"):
            continue
        name, _, value = "".join(parts).strip().partition(" ")
        if name.upper() not in KNOWN:
            raise RecipeError(f"line {begun}: {name} is not an instruction that this script knows")
        found.append(Instruction(name.upper(), value.strip(), begun))
        parts = []
    return found


def read(text: str, build_args: Mapping[str, str]) -> Recipe:
    """The stages of a Dockerfile. `build_args` win over defaults of the arguments that were declared."""
    arguments: dict[str, str] = {}
    stages: list[tuple[str, str, list[Instruction]]] = []
    for instruction in parse(text):
        if instruction.name == "FROM":
            image, _, name = re.sub(r"\s+as\s+", " ", instruction.value, flags=re.IGNORECASE).partition(" ")
            stages.append((name or str(len(stages)), expand(image, arguments), []))
        elif stages:
            stages[-1][2].append(instruction)
        elif instruction.name == "ARG":
            arguments.update(declared(instruction.value, arguments, build_args))
        else:
            raise RecipeError(f"line {instruction.line}: only ARG may come before the first FROM")
    if not stages:
        raise RecipeError("there is no FROM")
    return Recipe(arguments, tuple(Stage(name, base, tuple(found)) for name, base, found in stages))


def declared(value: str, inherited: Mapping[str, str], build_args: Mapping[str, str]) -> dict[str, str]:
    """What `ARG value` adds: the builder's value, else the default, else what came before the first FROM."""
    name, given, default = value.partition("=")
    if name in build_args:
        return {name: build_args[name]}
    if given:
        return {name: expand(default.strip("\"'"), inherited)}
    return {name: inherited[name]} if name in inherited else {}


def assigned(value: str, variables: Mapping[str, str]) -> dict[str, str]:
    """The pairs of `ENV value` or `LABEL value`."""
    pairs = re.findall(r"""([\w.]+)=("[^"]*"|'[^']*'|\S*)""", value)
    return {name: expand(given.strip("\"'"), variables) for name, given in pairs}


def expand(text: str, variables: Mapping[str, str]) -> str:
    """`text` with $NAME, ${NAME} and ${NAME:-default} replaced; what is not set is empty."""

    def replaced(match: re.Match[str]) -> str:
        return variables.get(match["plain"] or match["name"], "") or match["default"] or ""

    return re.sub(r"\$(?:(?P<plain>\w+)|\{(?P<name>\w+)(?::-(?P<default>[^}]*))?\})", replaced, text)


def words(value: str) -> list[str]:
    """The command of an exec-form instruction. Raises RecipeError for the shell form."""
    try:
        found = json.loads(value)
    except ValueError:
        found = None
    if not isinstance(found, list) or not all(isinstance(word, str) for word in found):
        raise RecipeError(f"only the JSON form of a command is known here, not {value!r}")
    return found


def in_context(path: str, ignored: str) -> bool:
    """Whether a file of the repository reaches the builder past a .dockerignore of whole paths and **/name patterns."""
    kept = True
    for line in ignored.splitlines():
        pattern = line.strip()
        if not pattern or pattern.startswith("#"):
            continue
        keep = pattern.startswith("!")
        if _covers(pattern.removeprefix("!"), PurePosixPath(path)):
            kept = keep
    return kept


def _covers(pattern: str, path: PurePosixPath) -> bool:
    candidates = [path, *path.parents][:-1]
    if pattern.startswith("**/"):
        return any(fnmatch.fnmatchcase(candidate.name, pattern[3:]) for candidate in candidates)
    return any(fnmatch.fnmatchcase(str(candidate), pattern) for candidate in candidates)
