"""`editx quantize`, run as a user would."""

from __future__ import annotations

from tests.cli.running import CommandLine


def test_weights_are_made_beside_their_source(editx: CommandLine) -> None:
    editx("synth-checkpoint", "models")
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
