"""Follows a Dockerfile in trees instead of layers, and starts what it says as a container engine would."""

from __future__ import annotations

import glob
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from scripts.fresh.dockerfile import (
    Instruction,
    Recipe,
    RecipeError,
    Stage,
    assigned,
    declared,
    expand,
    in_context,
    words,
)
from scripts.fresh.host import CODENAME, Host
from scripts.fresh.tree import ROOT, Tree, User, run


@dataclass(frozen=True, slots=True)
class Image:
    """A tree, and how its command is run."""

    tree: Tree
    environment: Mapping[str, str] = field(default_factory=dict)
    user: User = ROOT
    directory: str = "/"
    entrypoint: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()
    healthcheck: tuple[str, ...] = ()

    @property
    def command(self) -> list[str]:
        return [*self.entrypoint, *self.arguments]


def only_what_builders_see(context: Path) -> None:
    """Take out of `context` whatever its .dockerignore keeps from a builder."""
    ignored = (context / ".dockerignore").read_text("utf-8")
    for path in sorted(context.rglob("*")):
        if not path.is_dir() and not in_context(str(path.relative_to(context)), ignored):
            path.unlink()


def build(recipe: Recipe, context: Path, base: Path, work: Path, host: Host, build_args: Mapping[str, str]) -> Image:
    """The image of the last stage. Trees are made under `work`; `base` stands for the Debian that stages begin with."""
    built: dict[str, Image] = {}
    for number, stage in enumerate(recipe.stages):
        began = built.get(stage.base)
        if began is None and CODENAME not in stage.base:
            raise RecipeError(f"{stage.base} is no Debian {CODENAME}, which is the only image that can be made here")
        tree = Tree.copy(began.tree.root if began else base, work / f"stage-{number}")
        if began is None:
            host.configure(tree)
        began = replace(began, tree=tree) if began else Image(tree)
        with tree.open(host.binds):
            built[stage.name] = _Stage(recipe, stage, context, host, build_args, built).follow(began)
    return built[recipe.stages[-1].name]


@dataclass(frozen=True, slots=True)
class _Stage:
    recipe: Recipe
    stage: Stage
    context: Path
    host: Host
    build_args: Mapping[str, str]
    earlier: Mapping[str, Image]

    def follow(self, image: Image) -> Image:
        arguments: dict[str, str] = {}
        for instruction in self.stage.instructions:
            print(f"  {self.stage.name}: {instruction.name} {instruction.value[:100]}", flush=True)
            variables = {**arguments, **image.environment}
            value = instruction.value
            match instruction.name:
                case "ARG":
                    arguments |= declared(value, self.recipe.arguments, self.build_args)
                case "ENV":
                    image = replace(image, environment={**image.environment, **assigned(value, variables)})
                case "RUN":
                    environment = {**self.host.environment, **variables}
                    shell = ["/bin/sh", "-c", value]
                    image.tree.run(shell, environment, user=image.user, directory=image.directory)
                case "COPY":
                    self._copy(image, instruction, variables)
                case "WORKDIR":
                    directory = str(Path(image.directory, expand(value, variables)))
                    image.tree.inside(directory).mkdir(parents=True, exist_ok=True)
                    image = replace(image, directory=directory)
                case "USER":
                    image = replace(image, user=_user(value, image.environment))
                case "ENTRYPOINT":
                    image = replace(image, entrypoint=tuple(words(value)))
                case "CMD":
                    image = replace(image, arguments=tuple(words(value)))
                case "HEALTHCHECK":
                    image = replace(image, healthcheck=tuple(words(value.partition("CMD ")[2])))
        return image

    def _copy(self, image: Image, instruction: Instruction, variables: Mapping[str, str]) -> None:
        *sources, target = shlex.split(expand(instruction.value, variables))
        root = self.context
        flags = [word for word in sources if word.startswith("--")]
        for flag in flags:
            name, _, value = flag.partition("=")
            if name != "--from" or value not in self.earlier:
                raise RecipeError(f"line {instruction.line}: {flag} cannot be followed")
            root = self.earlier[value].tree.root
        paths = [Path(path) for word in sources[len(flags) :] for path in _found(root, word, instruction)]
        goal = image.tree.inside(str(Path(image.directory, target)))
        into = target.endswith("/") or len(paths) > 1
        (goal if into else goal.parent).mkdir(parents=True, exist_ok=True)
        for path in paths:
            if path.is_dir():
                goal.mkdir(exist_ok=True)
                run("cp", "-a", "--reflink=auto", "--no-preserve=ownership", f"{path}/.", str(goal))
            else:
                run(
                    "cp",
                    "-a",
                    "--reflink=auto",
                    "--no-preserve=ownership",
                    str(path),
                    str(goal / path.name if into else goal),
                )


def _found(root: Path, word: str, instruction: Instruction) -> Sequence[str]:
    found = sorted(glob.glob(str(root / word.lstrip("/"))))
    if not found:
        raise RecipeError(f"line {instruction.line}: there is no {word} to copy; does .dockerignore let it through?")
    return found


def _user(value: str, environment: Mapping[str, str]) -> User:
    match = re.fullmatch(r"(\d+):(\d+)", value)
    if not match:
        raise RecipeError(f"a user is written as two numbers here, not {value!r}")
    return User(int(match[1]), int(match[2]), environment.get("HOME", "/"))
