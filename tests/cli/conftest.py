"""Fixtures of the command-line tests."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import CommandLine
from tests.running import RunningServer, running_server

KEY = "key-of-the-tests"


class KeyedServer:
    """A server that asks for a key, and the variables with which the command line uses it."""

    def __init__(self, running: RunningServer) -> None:
        self.running = running
        self.url = running.url
        self.port = int(running.url.rpartition(":")[2])
        self.variables = {"EDITX_SERVER": running.url, "EDITX_API_KEY": KEY}
        running.client.headers["Authorization"] = f"Bearer {KEY}"


@pytest.fixture
def editx(tmp_path: Path, speech_wav: bytes) -> CommandLine:
    """`editx` in a folder of its own with a recording, `me.wav`."""
    (tmp_path / "me.wav").write_bytes(speech_wav)
    return CommandLine(tmp_path)


@pytest.fixture
def models(editx: CommandLine, native_root: Path) -> Path:
    """What `editx synth-checkpoint models` writes into the folder of `editx`, to be changed."""
    for name in ("Step-Audio-EditX", "Step-Audio-Tokenizer"):
        shutil.copytree(native_root / name, editx.folder / "models" / name)
    return editx.folder / "models"


@pytest.fixture(scope="session")
def keyed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KeyedServer]:
    with running_server(tmp_path_factory.mktemp("keyed"), env={"EDITX_API_KEY": f"{KEY},another"}) as running:
        yield KeyedServer(running)
