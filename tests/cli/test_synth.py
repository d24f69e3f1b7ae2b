"""`editx synth-checkpoint`, run as a user would."""

from __future__ import annotations

from tests.cli.running import CommandLine


def test_a_root_is_written_and_listed(editx: CommandLine) -> None:
    written = editx.json("synth-checkpoint", "models", "--seed", "5")
    assert [row["directory"] for row in written] == ["models/Step-Audio-Tokenizer", "models/Step-Audio-EditX"]
    assert 40e6 < sum(row["bytes"] for row in written) < 60e6
    listed = editx.json("models", "--model-path", "models")
    assert "no weights" not in listed["base"]["reason"]
    assert "no weights" in listed["awq"]["reason"]
    assert "--force" in editx.error("synth-checkpoint", "models", code=4)


def test_what_cannot_be_is_refused(editx: CommandLine) -> None:
    assert "no size 'huge'" in editx.error("synth-checkpoint", "models", "--size", "huge", code=2)
    assert "'lite'" in editx.error("synth-checkpoint", "models", "--variant", "lite", code=2)
    assert "cannot write" in editx.error("synth-checkpoint", "me.wav/models", code=2)
