"""`editx models`: which variants there are, and what a running server has loaded."""

from __future__ import annotations

from typing import Annotated, Any
from urllib.parse import quote

import typer

from editx.cli.console import print_json, stdout
from editx.cli.options import ApiKey, AsJson, Server, with_settings
from editx.errors import InvalidRequest
from editx.settings import Settings

app = typer.Typer(rich_markup_mode=None, pretty_exceptions_enable=False)

VariantName = Annotated[str, typer.Argument(metavar="VARIANT", help="base, awq, bnb or lite.", show_default=False)]


@app.callback(invoke_without_command=True)
@with_settings(("model_path",))
def models(
    settings: Settings, context: typer.Context, as_json: AsJson = False, server: Server = None, api_key: ApiKey = None
) -> None:
    """List the variants: which could be loaded here and why not; with --server, what it has loaded."""
    if context.invoked_subcommand is not None:
        return
    if server:
        rows = _ask(server, api_key, "GET", "/api/v1/models/status")
    else:
        from editx.engines.catalog import catalog

        rows = {
            spec.name: {"available": spec.available, "reason": spec.reason, "title": spec.title, "slots": spec.slots}
            for spec in catalog(settings.model_path)
        }
    if as_json:
        print_json(rows)
    else:
        _print_live(rows) if server else _print_here(rows)


@app.command("load")
def load(variant: VariantName, server: Server = None, api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Load a variant in a running server now."""
    _change("load", variant, {}, server, api_key, as_json)


@app.command("unload")
def unload(
    variant: VariantName,
    now: Annotated[bool, typer.Option("--now", help="End requests under way instead of waiting for them.")] = False,
    server: Server = None,
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Give back a variant that a running server has loaded."""
    _change("unload", variant, {"now": "true"} if now else {}, server, api_key, as_json)


def _change(
    what: str, variant: str, query: dict[str, str], server: str | None, api_key: str | None, as_json: bool
) -> None:
    if not server:
        raise InvalidRequest(f"models are {what}ed in a running server; name it with --server URL", param="--server")
    done = _ask(server, api_key, "POST", f"/api/v1/models/{quote(variant, safe='')}/{what}", params=query)
    if as_json:
        print_json(done)
    else:
        print(f"{done['variant']} is {done['status']}")


def _ask(server: str, api_key: str | None, method: str, path: str, **request: Any) -> Any:
    from editx.cli.remote import Connection

    return Connection(server, api_key).json(method, path, **request)


def _print_here(rows: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("variant", "available", "what", box=None, pad_edge=False)
    for name, row in rows.items():
        table.add_row(name, "yes" if row["available"] else "no", row["reason"] or row["title"])
    stdout().print(table)


def _print_live(rows: dict[str, dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("variant", "state", "leases", "queued", "unloads in", "GPU", "RAM", "", box=None, pad_edge=False)
    for name, row in rows.items():
        left = row["time_until_unload"]
        table.add_row(
            name,
            row["state"] if row["available"] else "unavailable",
            str(row["leases"]),
            str(row["queued"]),
            f"{left:.0f} s" if left is not None else "",
            f"{row['gpu_memory_process_gb']:.1f} GB" if row["loaded"] else "",
            f"{row['ram_process_gb']:.1f} GB" if row["loaded"] else "",
            row["reason"] or row["last_error"] or "",
        )
    stdout().print(table)
