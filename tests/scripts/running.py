"""The scripts, run as a reader of the documents would run them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).parents[2] / "scripts"
TIMEOUT_S = 180.0


def script(name: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Run a script to its end, whatever that is."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDITX_")}
    command = [sys.executable, "-W", "error", str(SCRIPTS / name), *map(str, arguments)]
    return subprocess.run(command, env=clean, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)
