"""Write the documentation that the code itself holds: docs/settings.md and docs/cli.md.

Run by `make docs`. With --check nothing is written, and the exit code is 1 where a file differs from the code.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer.main

from editx.cli.app import app
from editx.cli.console import EXIT_CODES
from editx.settings import settings_table

DOCS = Path(__file__).parent.parent / "docs"
COLUMNS = 100
WRITTEN = "<!-- Written by `make docs` from the code; change it there. -->"

SETTINGS = f"""{WRITTEN}

# Settings

Every setting is a flag of `editx serve`, a variable, and a key of a TOML file (`idle_timeout = 60`). Flags win over
variables, variables over the file, the file over defaults. The file is the one named by `--config` or `EDITX_CONFIG`,
else `editx.toml` in the working directory. `editx doctor --json` shows the settings in effect.

"""

COMMANDS = f"""{WRITTEN}

# Command line

Results go to stdout, everything else to stderr. With `--json` stdout holds one JSON document: the result, or
`{{"error": {{"code", "message", "param", "exit_code"}}}}`. No command overwrites a file without `--force` or leaves one
half-written, and Ctrl-C ends the work at once.

## Exit codes

| code | what |
|---|---|
| 0 | it was done |
| 1 | some lines of a batch failed, or `editx doctor` found that EditX could not serve |
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 where a file differs")
    check = parser.parse_args().check
    outdated = []
    for name, text in (("settings.md", SETTINGS + settings_table()), ("cli.md", commands())):
        path = DOCS / name
        if not path.exists() or path.read_text("utf-8") != text:
            outdated.append(name)
            if not check:
                path.parent.mkdir(exist_ok=True)
                path.write_text(text, "utf-8")
    if outdated and check:
        print(f"out of date: {', '.join(outdated)}; run `make docs`", file=sys.stderr)
        return 1
    return 0


def commands() -> str:
    """The page on the command line: exit codes, then the help of every command."""
    codes = [f"| {code} | {_first_line(kind)} |\n" for kind, code in EXIT_CODES.items() if code != 1]
    helps = [f"\n## {path}\n\n```text\n{text}\n```\n" for path, text in _helps()]
    return COMMANDS + "".join(codes) + "".join(helps)


def _first_line(kind: type) -> str:
    """What the error tree in `editx.errors` says of a kind of error."""
    import editx.errors

    for line in (editx.errors.__doc__ or "").splitlines():
        name, _, meaning = line.strip("│├└─ ").partition(" ")
        if name == kind.__name__:
            return meaning.strip()
    raise LookupError(kind.__name__)


def _helps() -> Iterator[tuple[str, str]]:
    """The path and the help of every command, groups before what is in them; plain text, `COLUMNS` wide."""
    pending: list[tuple[Any, Any]] = [(typer.main.get_command(app), None)]
    while pending:
        command, parent = pending.pop(0)
        context = command.context_class(
            command,
            info_name=command.name if parent else "editx",
            parent=parent,
            **command.context_settings | {"terminal_width": COLUMNS},
        )
        yield context.command_path, "\n".join(line.rstrip() for line in command.get_help(context).splitlines())
        children = [(child, context) for child in getattr(command, "commands", {}).values()]
        pending = children + pending


if __name__ == "__main__":
    sys.exit(main())
