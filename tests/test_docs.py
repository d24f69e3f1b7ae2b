"""The commands and programs in README and docs, run as they stand."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.running import RunningServer, running_server

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/api.md", "docs/lifecycle.md")
ADDRESS = "http://127.0.0.1:7860"


def snippets(page: str, language: str) -> list[str]:
    """The fenced blocks of one language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text("utf-8"), re.DOTALL | re.MULTILINE)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("docs")) as server:
        yield server


@pytest.mark.parametrize("page", PAGES)
def test_shell_snippets_work(served: RunningServer, page: str, tmp_path: Path) -> None:
    """All of a page in one directory, in order; every command must succeed, every reply must be no error."""
    tools = f"{Path(sys.executable).parent}/"
    for snippet in snippets(page, "sh"):
        if "make " in snippet:
            continue  # the two commands that set up and serve; running them here would never end
        script = snippet.replace(ADDRESS, served.url).replace(".venv/bin/", tools).replace("curl ", "curl -sS --fail ")
        run = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, f"{script}\n{run.stdout}\n{run.stderr}"
    for file in tmp_path.iterdir():
        assert file.stat().st_size > 1_000, f"{file.name} holds no audio"


@pytest.mark.parametrize("page", PAGES)
def test_python_snippets_work(served: RunningServer, page: str, tmp_path: Path) -> None:
    for snippet in snippets(page, "python"):
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", snippet.replace(ADDRESS, served.url)],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert run.returncode == 0, f"{snippet}\n{run.stderr}"


def test_the_readme_opens_with_the_two_commands() -> None:
    first = snippets("README.md", "sh")[0].split()
    assert first[:2] == ["make", "serve"]
    assert "test" in first
    assert shutil.which("curl"), "the snippets are run with curl"


def test_links_lead_somewhere() -> None:
    for page in ("README.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))):
        for target in re.findall(r"\]\(([^)#:]+)\)", (ROOT / page).read_text("utf-8")):
            assert (ROOT / page).parent.joinpath(target).exists(), f"{page} links to {target}"
