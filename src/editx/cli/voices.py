"""`editx voices`: the voice library, of this machine or of a server."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import quote

import typer

from editx.cli.console import EXIT_CODES, print_json, stdout
from editx.cli.options import ApiKey, AsJson, Server, with_settings
from editx.errors import InvalidRequest
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.voices import Voice, VoiceLibrary

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the voice.", show_default=False)]
LIBRARY_SETTINGS = ("data_dir",)


@app.callback(invoke_without_command=True)
def voices(context: typer.Context) -> None:
    """List, add, show, rename and delete voices."""
    if context.invoked_subcommand is None:
        print(context.get_help())
        raise typer.Exit(EXIT_CODES[InvalidRequest])


@app.command("list")
@with_settings(LIBRARY_SETTINGS)
def list_voices(settings: Settings, as_json: AsJson = False, server: Server = None, api_key: ApiKey = None) -> None:
    """List every voice."""
    if server:
        rows = _connect(server, api_key).json("GET", "/v1/voices")["data"]
    else:
        with _library(settings) as library:
            rows = [_row(voice) for voice in library.list()]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("name", "title", "locale", "seconds", "", "words", box=None, pad_edge=False)
    for row in rows:
        kind = "built in" if row["builtin"] else ""
        table.add_row(
            row["name"], row["title"], row["locale"] or "", f"{row['seconds']:.1f}", kind, _short(row["transcript"])
        )
    stdout().print(table)


@app.command("show")
@with_settings(LIBRARY_SETTINGS)
def show(
    settings: Settings, name: Name, as_json: AsJson = False, server: Server = None, api_key: ApiKey = None
) -> None:
    """Show one voice."""
    if server:
        row = _connect(server, api_key).json("GET", _path(name))
    else:
        with _library(settings) as library:
            row = _row(library.get(name, param="NAME"))
    _print(row, as_json=as_json)


@app.command("add")
@with_settings((*LIBRARY_SETTINGS, "max_audio_seconds"))
def add(
    settings: Settings,
    name: Name,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="A recording of the voice, 3 to 30 s of clean speech.", show_default=False),
    ],
    transcript: Annotated[
        str, typer.Option("--transcript", metavar="TEXT", help="The words spoken in the recording.", show_default=False)
    ],
    locale: Annotated[str | None, typer.Option("--locale", metavar="TAG", help="Such as en-US or zh-CN.")] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Replace a voice of that name.")] = False,
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Add a voice under a name."""
    if server:
        from editx.cli.remote import open_recording

        fields = {"name": name, "transcript": transcript, "replace": str(replace).lower()}
        with open_recording(file) as recording:
            row = _connect(server, api_key).json(
                "POST",
                "/v1/voices",
                data=fields | ({"locale": locale} if locale else {}),
                files={"file": ("recording", recording)},
            )
    else:
        from editx.audio.codec import AudioLimits, Decoder

        decoder = Decoder(limits=AudioLimits(max_bytes=settings.max_body, max_seconds=settings.max_audio_seconds))
        with _library(settings) as library:
            row = _row(library.add(name, decoder.decode_path(file), transcript, locale, replace=replace))
    _print(row, as_json=as_json)


@app.command("rename")
@with_settings(LIBRARY_SETTINGS)
def rename(
    settings: Settings,
    name: Name,
    new: Annotated[str, typer.Argument(metavar="NEW", help="Its new name.", show_default=False)],
    as_json: AsJson = False,
    server: Server = None,
    api_key: ApiKey = None,
) -> None:
    """Rename a voice that was added."""
    if server:
        row = _connect(server, api_key).json("PATCH", _path(name), json={"name": new})
    else:
        with _library(settings) as library:
            row = _row(library.rename(name, new))
    _print(row, as_json=as_json)


@app.command("delete")
@with_settings(LIBRARY_SETTINGS)
def delete(
    settings: Settings, name: Name, as_json: AsJson = False, server: Server = None, api_key: ApiKey = None
) -> None:
    """Delete a voice that was added."""
    if server:
        _connect(server, api_key).json("DELETE", _path(name))
    else:
        with _library(settings) as library:
            library.delete(name)
    if as_json:
        print_json({"id": name, "deleted": True})
    else:
        print(f"deleted {name}")


def _library(settings: Settings) -> VoiceLibrary:
    from editx.workshop import open_voices

    return open_voices(settings)


def _connect(server: str, api_key: str | None) -> Any:
    from editx.cli.remote import Connection

    return Connection(server, api_key)


def _path(name: str) -> str:
    return f"/v1/voices/{quote(name, safe='')}"


def _row(voice: Voice) -> dict[str, Any]:
    """A voice as the HTTP API shows it."""
    return {
        "id": voice.name,
        "name": voice.name,
        "title": voice.title,
        "locale": voice.locale,
        "transcript": voice.transcript,
        "seconds": round(voice.seconds, 3),
        "builtin": voice.builtin,
        "created": voice.created,
        "warnings": list(voice.warnings),
    }


def _print(row: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(row)
        return
    kind = ", built in" if row["builtin"] else ""
    print(f"{row['name']}  {row['seconds']:.1f} s{', ' + row['locale'] if row['locale'] else ''}{kind}")
    print(f"  {row['transcript']}")
    for warning in row["warnings"]:
        print(f"  warning: {warning}")


def _short(text: str, most: int = 60) -> str:
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most - 1]}…"
