"""`editx quantize`, run as a user would."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cli.running import CommandLine


def test_weights_are_made_beside_their_source(editx: CommandLine, models: Path) -> None:
    made = editx.json("quantize", "bnb", "--model-path", "models")
    assert made["directory"] == "models/Step-Audio-EditX-bnb-4bit"
    assert 0.03 < made["relative_error"] < 0.12
    assert "no weights" not in editx.json("models", "--model-path", "models")["bnb"]["reason"]
    assert "--force" in editx.error("quantize", "bnb", "--model-path", "models", code=4)
    assert "--group" in editx.error("quantize", "awq", "--model-path", "models", code=2)
    assert b"% off" in editx("quantize", "awq", "--model-path", "models", "--group", "32").stdout


def test_what_cannot_be_made_is_refused(editx: CommandLine) -> None:
    assert "awq or bnb" in editx.error("quantize", "base", code=2)
    assert "editx pull" in editx.error("quantize", "awq", "--model-path", "nowhere", code=6)


def test_recordings_choose_scales(editx: CommandLine, models: Path) -> None:
    weights = ("awq", "--model-path", "models", "--group", "32")
    made = editx.json("quantize", *weights, "--audio", "me.wav", "--transcript", "What I say.")
    assert (made["recordings"], made["without_words"], made["prompts"]) == (1, 0, 7)
    assert made["output_error"] < made["output_error_without_scales"]
    folder = editx.folder / "recordings" / "deeper"
    folder.mkdir(parents=True)
    for name in ("a.wav", "b.WAV", "not audio.md"):
        shutil.copy(editx.folder / "me.wav", folder / name)
    (folder / "a.txt").write_text("What I say.\n")
    said = editx("quantize", *weights, "--force", "--audio", "recordings").stdout.decode()
    assert "9 prompts made of 2 of 2 recordings" in said
    assert "denoise and vad only: 1" in said
    editx("edit", "me.wav", "--variant", "awq", "--step", "denoise", "-o", "clean.wav", "--model-path", "models")
    assert (editx.folder / "clean.wav").stat().st_size > 10_000


def test_recordings_that_are_of_no_use_are_refused(editx: CommandLine, models: Path) -> None:
    weights = ("--model-path", "models", "--group", "32")
    (editx.folder / "broken.wav").write_bytes(b"RIFF, and then nothing more")
    assert "no use for bnb" in editx.error("quantize", "bnb", "--audio", "me.wav", *weights, code=2)
    both = ("--audio", "me.wav", "--audio", "broken.wav")
    assert "broken.wav: the file is not audio" in editx.error("quantize", "awq", *both, *weights, code=2)
    assert "--audio" in editx.error("quantize", "awq", "--transcript", "What I say.", *weights, code=2)
    assert not (editx.folder / "models/Step-Audio-EditX-AWQ-4bit").exists()
