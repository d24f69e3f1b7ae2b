"""Where the settings come from, and variables that look like settings but are none."""

from __future__ import annotations

import difflib
import os
from pathlib import Path

from editx.doctor.check import Check
from editx.settings import Settings

OTHERS = ("EDITX_CONFIG", "EDITX_SERVER", "EDITX_HUB_ENDPOINT")
"""Variables that commands read besides the settings."""


def check_settings() -> Check:
    """The file and the variables that were read; a misspelt variable would change nothing, silently."""
    known = [f"EDITX_{name.upper()}" for name in Settings.model_fields]
    given = sorted(name for name in os.environ if name.upper().startswith("EDITX_"))
    used = [name for name in given if name.upper() in known]
    unknown = [name for name in given if name.upper() not in (*known, *OTHERS)]
    file = os.environ.get("EDITX_CONFIG") or ("editx.toml" if Path("editx.toml").exists() else None)
    facts = {"file": file, "variables": used, "unknown_variables": unknown}
    if unknown:
        near = difflib.get_close_matches(unknown[0].upper(), known, 1)
        remedy = f"rename {unknown[0]} to {near[0]}" if near else f"unset {unknown[0]}"
        return Check("settings", "warn", f"there is no setting {', '.join(unknown)}", remedy, facts)
    sources = [*([f"file {file}"] if file else []), *used]
    return Check("settings", "ok", f"from {', '.join(sources)}" if sources else "defaults and flags", facts=facts)
