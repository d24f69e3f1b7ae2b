"""Where the settings come from, and variables that look like settings but are none."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from editx.doctor.check import Check
from editx.settings import Settings

PREFIX = "EDITX_"
OTHERS = ("EDITX_CONFIG", "EDITX_SERVER", "EDITX_HUB_ENDPOINT")
"""Variables that commands read besides the settings."""


def unknown_variables() -> dict[str, str]:
    """Variables that look like settings but change nothing, and what to do about each."""
    known = [name.removeprefix(PREFIX) for name in _known()]
    remedies = {}
    for name in sorted(os.environ):
        rest = name.upper().removeprefix(PREFIX)
        if name.upper().startswith(PREFIX) and rest not in known:
            near = difflib.get_close_matches(rest, known, 1)
            remedies[name] = f"rename {name} to {PREFIX}{near[0]}" if near else f"unset {name}"
    return remedies


def check_settings() -> Check:
    """The file and the variables that were read; a misspelt variable would change nothing, silently."""
    unknown = unknown_variables()
    used = sorted(name for name in os.environ if name.upper() in _known() and name.upper() not in OTHERS)
    file = os.environ.get("EDITX_CONFIG") or ("editx.toml" if Path("editx.toml").exists() else None)
    facts = {"file": file, "variables": used, "unknown_variables": list(unknown)}
    if unknown:
        return Check(
            "settings", "warn", f"there is no setting {', '.join(unknown)}", "; ".join(unknown.values()), facts
        )
    sources = [*([f"file {file}"] if file else []), *used]
    return Check("settings", "ok", f"from {', '.join(sources)}" if sources else "defaults and flags", facts=facts)


def _known() -> list[str]:
    return [*(f"{PREFIX}{name.upper()}" for name in Settings.model_fields), *OTHERS]
