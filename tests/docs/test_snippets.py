"""The commands and programs in the pages, run as they stand.

English pages only: `test_links.py` sees to it that their translations hold the same.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from editx.audio.codec import MIME_TYPES, Decoder
from tests.docs.pages import ENGLISH, ROOT, Block, Page
from tests.running import RunningServer

ADDRESS = "http://127.0.0.1:7860"
TOOLS = Path(sys.executable).parent
NODE_MODULES = ROOT / "tests/clients/node_modules"
NOT_HERE = re.compile(
    r"\b(docker|podman|kubectl|systemctl|sudo|editx pull|start_unified_container\.sh(?! --dry-run))\b"
)
WITH_SNIPPETS = [page for page in ENGLISH if any(block.executed for block in page.blocks)]


def command(block: Block) -> list[str]:
    """How a block is run. Python's warnings and curl's HTTP errors count as failures."""
    if block.language == "python":
        return [sys.executable, "-W", "error", "-c", block.text]
    if block.language == "js":
        return ["node", "--input-type=module", "-e", block.text]
    text = block.text.replace(".venv/bin/", "").replace("curl ", "curl -sS --fail ")
    return ["bash", "-euo", "pipefail", "-c", text]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the repository as far as the snippets look at it; what they write is thrown away."""
    for name in ("scripts", "tests", "deploy", "models"):
        if (ROOT / name).exists():
            (tmp_path / name).symlink_to(ROOT / name)
    (tmp_path / "node_modules").symlink_to(NODE_MODULES)
    return tmp_path


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=str)
def test_snippets_work(server: RunningServer, page: Page, folder: Path) -> None:
    """All of a page in one folder, in order, against one server; every command and program must succeed."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("EDITX_")}
    environment = {
        **clean,
        "PATH": f"{TOOLS}:{clean['PATH']}",
        "EDITX_DATA_DIR": str(folder / "data"),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no request leaves this machine
    }
    for block in page.blocks:
        if not block.executed:
            continue
        run = subprocess.run(
            [part.replace(ADDRESS, server.url) for part in command(block)],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert run.returncode == 0, f"{block.text}\n{run.stdout}\n{run.stderr}"
    for file in folder.iterdir():
        if file.suffix[1:] in MIME_TYPES:
            assert Decoder().decode_path(file).seconds > 0.3, f"{file.name} holds no speech"


@pytest.mark.parametrize("page", WITH_SNIPPETS, ids=str)
def test_what_needs_more_than_this_machine_is_marked(page: Page) -> None:
    """Wherever the tests run, they start no container, change no system and download no weights."""
    for block in page.blocks:
        assert not (block.executed and NOT_HERE.search(block.code)), f"{page}: mark this as not-executed:\n{block.text}"


def test_the_readme_opens_with_the_two_commands() -> None:
    first = Page("README.md").blocks[0].code.split()
    assert first == ["make", "serve", "make", "test"]
