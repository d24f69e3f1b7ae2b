"""`editx edit`: chains of steps, and everything they made on the way."""

from __future__ import annotations

import json

import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from tests.cli.conftest import KeyedServer
from tests.cli.running import CommandLine


def test_a_chain_keeps_every_step_and_its_recipe(editx: CommandLine, speech: tuple[Clip, str]):
    clip, words = speech
    laughing = f"[Laughter] {words}"
    steps = ["--step", "denoise", "--step", "speed:more faster", "--step", f"paralinguistic:{laughing}"]
    made = editx.json("edit", "me.wav", "--transcript", words, *steps, "-o", "out.flac", "--all", "steps", "--seed", 7)
    folder = editx.folder / "steps"
    names = ["01-denoise.flac", "02-speed-more-faster.flac", "03-paralinguistic.flac"]
    assert sorted(path.name for path in folder.iterdir()) == [*names, "recipe.json"]
    lengths = [Decoder().decode_path(folder / name).seconds for name in names]
    assert lengths[0] == pytest.approx(clip.seconds, abs=0.1)
    assert lengths[1] < 0.85 * lengths[0]
    assert lengths[2] > lengths[1] + 0.2
    assert made["seconds"] == pytest.approx(lengths[2], abs=0.01)
    assert (editx.folder / "out.flac").read_bytes() == (folder / names[2]).read_bytes()
    recipe = json.loads((folder / "recipe.json").read_text())
    assert (recipe["source"], recipe["transcript"], recipe["seed"]) == ("me.wav", words, 7)
    assert [step["file"] for step in recipe["steps"]] == names
    assert [step["type"] for step in recipe["steps"]] == ["denoise", "speed", "paralinguistic"]
    assert recipe["steps"][1]["info"] == "more faster"
    assert recipe["steps"][2]["text"] == recipe["steps"][2]["transcript"] == laughing

    again = editx.error("edit", "me.wav", "--transcript", words, *steps, "--all", "steps", "--format", "flac", code=4)
    assert "steps/01-denoise.flac exists" in again


def test_a_server_makes_the_same_steps(editx: CommandLine, keyed: KeyedServer, speech: tuple[Clip, str]):
    order = ["edit", "me.wav", "--transcript", speech[1], "--step", "vad", "--step", "style:whisper", "--seed", 2]
    editx(*order, "--all", "here")
    editx(*order, "--all", "there", **keyed.variables)
    for name in ("01-vad.wav", "02-style-whisper.wav"):
        assert (editx.folder / "here" / name).read_bytes() == (editx.folder / "there" / name).read_bytes()
    editx(*order, "-o", "last.wav", **keyed.variables)
    last = (editx.folder / "there" / "02-style-whisper.wav").read_bytes()
    assert (editx.folder / "last.wav").read_bytes() == last


def test_a_recording_comes_from_stdin_and_steps_repeat(editx: CommandLine, speech: tuple[Clip, str], speech_wav: bytes):
    edit = ["edit", "-", "--transcript", speech[1], "--step", "speed:faster", "-o", "-", "--format", "wav"]
    once = Decoder().decode(editx(*edit, input=speech_wav).stdout)
    twice = Decoder().decode(editx(*edit, "-n", 2, input=speech_wav).stdout)
    assert twice.seconds < 0.95 * once.seconds < 0.95 * 0.95 * speech[0].seconds


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--step", "emotion:happy", "-o", "x.wav"], 2, "--transcript"),
        (["--step", "denoise", "-o", "x.wav", "--max-audio-seconds", "1"], 5, "more than 1 s of audio"),
        (["--step", "denoise", "-o", "x.wav", "--variant", "base"], 6, "cannot be loaded here: no weights"),
        (["--step", "denoise", "-o", "x.wav", "--variant", "bse"], 3, "known: base, awq, bnb, lite"),
    ],
)
def test_what_cannot_be_done_is_said(editx: CommandLine, arguments: list[str], code: int, said: str):
    assert said in editx.error("edit", "me.wav", *arguments, code=code)
    assert not (editx.folder / "x.wav").exists()


def test_files_that_are_no_recordings(editx: CommandLine):
    (editx.folder / "page.html").write_text("<html>")
    assert "markup" in editx.error("edit", "page.html", "--step", "denoise", "-o", "x.wav", code=2)
    assert "there is no file gone.wav" in editx.error("edit", "gone.wav", "--step", "denoise", "-o", "x.wav", code=3)
