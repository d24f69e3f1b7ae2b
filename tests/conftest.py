"""Fixtures that several folders share."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import hypothesis
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import encode
from editx.voices import VoiceLibrary
from tests.running import RunningServer, running_server

# Started in the background, a shell's children ignore Ctrl-C, and so would the programs that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

# Processes that run side by side share the cores. Left alone, torch and numpy start a thread for every core in each of
# them, and threads that wait for a core burn what the others need.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

# How long one example takes says more about the machine than about us. Everywhere else chance may find what is still
# hidden; in CI a run has to mean the same every time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """One server for all tests that only use it and change nothing others would notice."""
    with running_server(tmp_path_factory.mktemp("server")) as running:
        yield running


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> tuple[Clip, str]:
    """A recording of speech and the words in it."""
    library = VoiceLibrary(tmp_path_factory.mktemp("voices"))
    try:
        voice = library.get("alloy")
        return voice.clip(), voice.transcript
    finally:
        library.close()


@pytest.fixture(scope="session")
def native_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A models directory with a tiny checkpoint of every native variant, in the published layout."""
    from editx.engines.step.synth.checkpoint import write_checkpoint

    root = tmp_path_factory.mktemp("native") / "models"
    write_checkpoint(root, size="tiny", variants=["base", "awq", "bnb"], seed=0)
    return root


@pytest.fixture
def damaged_root(tmp_path: Path, native_root: Path) -> Path:
    """As `native_root`, but `flow.pt` of `base` was cut off."""
    root = tmp_path / "models"
    for source in sorted(native_root.rglob("*")):
        target = root / source.relative_to(native_root)
        if source.is_dir():
            target.mkdir(parents=True, exist_ok=True)
        else:
            target.symlink_to(source)
    damaged = root / "Step-Audio-EditX" / "CosyVoice-300M-25Hz" / "flow.pt"
    damaged.unlink()
    damaged.write_bytes(b"PK\x03\x04 cut off")
    return root


@pytest.fixture(scope="session")
def speech_wav(speech: tuple[Clip, str]) -> bytes:
    return encode(speech[0], "wav")


@pytest.fixture
def slow_import(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], object]:
    """The gate of `tests.processes.slow`: called, it lets the import end."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    monkeypatch.setenv("EDITX_TEST_GATE", str(gate))
    return lambda: gate.write_bytes(b"go")
