"""The pages in docs/ are those that this code writes, and the command line starts without heavy imports."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
SCRIPT = "scripts/write_docs.py"
HEAVY = {"numpy", "av", "soxr", "fastapi", "uvicorn", "starlette", "httpx", "rich", "psutil", "torch", "pyworld"}


def write_docs(root: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(root / SCRIPT), *arguments], capture_output=True, text=True, timeout=60, check=False,
        env={"PATH": "/usr/bin:/bin", **variables},
    )  # fmt: skip


def test_the_pages_in_docs_are_current():
    done = write_docs(ROOT, "--check", COLUMNS="40", EDITX_PORT="1", EDITX_SERVER="http://x", TERM="xterm")
    assert done.returncode == 0, done.stderr


def test_a_page_that_differs_is_noticed_and_written_anew(tmp_path: Path):
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / SCRIPT, tmp_path / SCRIPT)
    missing = write_docs(tmp_path, "--check")
    assert missing.returncode == 1
    assert missing.stderr == "out of date: settings.md, cli.md; run `make docs`\n"
    assert not (tmp_path / "docs").exists()
    assert write_docs(tmp_path).returncode == 0
    for page in ("settings.md", "cli.md"):
        assert (tmp_path / "docs" / page).read_text() == (ROOT / "docs" / page).read_text()
    (tmp_path / "docs" / "cli.md").write_text("old")
    assert write_docs(tmp_path, "--check").stderr.startswith("out of date: cli.md")


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from editx.cli.app import run; code = run(['batch', '--help']); "
        "print(*sorted({name.partition('.')[0] for name in sys.modules})); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())
