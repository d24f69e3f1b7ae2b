"""Flags: those of the settings, made from their one declaration, and those that several commands share."""

from __future__ import annotations

import functools
import inspect
import os
import typing
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from pydantic.fields import FieldInfo

from editx.settings import Settings, default_of, flag_of, load_settings

ALL_SETTINGS = tuple(Settings.model_fields)
ENGINE_SETTINGS = (
    "model_path", "data_dir", "gpu_memory_budget", "stall_timeout", "worker_memory_limit", "max_audio_seconds",
    "max_text_chars", "log_level",
)  # fmt: skip
"""The settings that matter where the engine runs in this process for one command."""

Command = Callable[..., None]

Variant = Annotated[
    str | None,
    typer.Option("--variant", metavar="NAME", help="base, awq, bnb or lite; the default variant if not given."),
]
Seed = Annotated[
    int | None, typer.Option("--seed", metavar="N", help="The same seed, input and variant give the same audio.")
]
Format = Annotated[
    str | None,
    typer.Option(
        "--format", metavar="NAME", help="mp3, opus, aac, flac, wav or pcm; by the ending of OUT if not given."
    ),
]
Force = Annotated[bool, typer.Option("--force", help="Overwrite files that exist.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result, or the error, as JSON on stdout.")]
Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        metavar="URL",
        envvar="EDITX_SERVER",
        help="Use this running server instead of loading a model here.",
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option("--api-key", metavar="KEY", envvar="EDITX_API_KEY", help="The key that server asks for."),
]


def with_settings(names: Sequence[str]) -> Callable[[Command], Command]:
    """Give a command `--config` and a flag for each named setting; it is called with the `settings` they add up to."""

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def wrapped(**given: Any) -> None:
            flags = {name: given.pop(name) for name in names}
            config = given.pop("config")
            if config is not None:
                os.environ["EDITX_CONFIG"] = str(config)
            command(settings=load_settings(**flags), **given)

        hints = typing.get_type_hints(command, include_extras=True)
        own = [
            parameter.replace(annotation=hints[name], kind=inspect.Parameter.KEYWORD_ONLY)
            for name, parameter in inspect.signature(command).parameters.items()
            if name != "settings"
        ]
        parameters = [*own, _option("config", _CONFIG), *(_option(name, _flag(name)) for name in names)]
        wrapped.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
        wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        return wrapped

    return decorate


_CONFIG = Annotated[
    Path | None,
    typer.Option(
        "--config", metavar="FILE", help="TOML file with settings; EDITX_CONFIG or ./editx.toml if not given."
    ),
]


def _option(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _flag(name: str) -> Any:
    """The option of one setting. Values stay text: the settings model is what checks them, wherever they come from."""
    field = Settings.model_fields[name]
    if isinstance(field.default, bool):
        flag = f"{flag_of(name)}/{flag_of('no_' + name)}" if field.default else flag_of(name)
        return Annotated[bool | None, typer.Option(flag, help=field.description, show_default=False)]
    shown = f"  [default: {default}]" if (default := default_of(name)) else ""
    return Annotated[
        str | None, typer.Option(flag_of(name), help=f"{field.description}{shown}", metavar=_metavar(field))
    ]


def _metavar(field: FieldInfo) -> str:
    if typing.get_origin(field.annotation) is Literal:
        return "|".join(typing.get_args(field.annotation))
    if "parse_bytes" in repr((field.annotation, field.metadata)):
        return "SIZE"
    kinds = {kind for kind in (field.annotation, *typing.get_args(field.annotation)) if kind is not type(None)}
    for kind, shown in ((Path, "PATH"), (float, "NUMBER"), (int, "N"), (str, "TEXT")):
        if kind in kinds:
            return shown
    return "TEXT"
