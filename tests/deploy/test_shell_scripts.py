"""Every shell script of the repository as shellcheck sees it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
PLACES = ("scripts", "deploy", "tests", ".ci")


def is_shell_script(path: Path) -> bool:
    if path.suffix == ".sh":
        return True
    with path.open("rb") as file:
        first = file.readline(80)
    return first.startswith(b"#!") and first.split()[-1].endswith((b"/sh", b"bash", b"dash")) and b"python" not in first


def test_shell_scripts_pass_shellcheck() -> None:
    scripts = sorted(
        path for place in PLACES for path in (ROOT / place).rglob("*") if path.is_file() and is_shell_script(path)
    )
    assert ROOT / "deploy" / "start_unified_container.sh" in scripts
    assert ROOT / ".ci" / "run" in scripts
    shellcheck = Path(sys.executable).parent / "shellcheck"
    run = subprocess.run(
        [shellcheck, "--external-sources", "--source-path=SCRIPTDIR", "--severity=style", *scripts],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
