"""`editx clone`: what it writes, and what it refuses."""

from __future__ import annotations

import json
import signal
import wave
from pathlib import Path

import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from tests.cli.conftest import KeyedServer
from tests.cli.running import CommandLine, all_gone

LONG = "The quick brown fox jumps over the lazy dog, and then it sleeps. " * 120


def seconds_of(path: Path) -> float:
    with wave.open(str(path)) as file:
        return file.getnframes() / file.getframerate()


def test_clones_a_voice_of_the_library(editx: CommandLine):
    made = editx.json("clone", "Good morning, everyone.", "--voice", "alloy", "-o", "out.wav", "--seed", 5)
    assert (made["out"], made["format"], made["variant"], made["seed"]) == ("out.wav", "wav", "lite", 5)
    assert made["seconds"] == pytest.approx(seconds_of(editx.folder / "out.wav"), abs=0.01)
    assert made["timings"]["total"] >= made["timings"]["load"] > 0


def test_text_comes_from_stdin_and_format_from_the_ending(editx: CommandLine, speech: tuple[Clip, str]):
    said = editx(
        "clone", "-", "--ref", "me.wav", "--ref-text", speech[1], "-o", "out.mp3", input="Guten Tag, ihr Fünf.".encode()
    )
    assert said.stdout.startswith(b"out.mp3  ")
    assert said.stderr == b""
    assert Decoder().decode_path(editx.folder / "out.mp3").seconds > 0.5


def test_audio_goes_to_stdout_alone(editx: CommandLine):
    made = editx("clone", "Hello there.", "--voice", "nova", "-o", "-", "--format", "flac", "--emotion", "happy")
    assert made.stdout.startswith(b"fLaC")
    assert made.stderr == b""


def test_speed_and_language_are_applied(editx: CommandLine):
    usual = editx.json("clone", "日本語", "--voice", "nova", "-o", "a.wav", "--seed", 1)
    spoken = ("clone", "日本語", "--voice", "nova", "--seed", 1, "--language", "ja")
    japanese = editx.json(*spoken, "-o", "b.wav")
    fast = editx.json(*spoken, "-o", "c.wav", "--speed", 2)
    assert japanese["seconds"] != usual["seconds"]
    assert fast["seconds"] == pytest.approx(japanese["seconds"] / 2, rel=0.1)


def test_a_file_that_exists_is_kept_without_force(editx: CommandLine):
    out = editx.folder / "out.wav"
    out.write_bytes(b"precious")
    message = editx.error("clone", "Hello.", "--voice", "alloy", "-o", "out.wav", code=4)
    assert message == "out.wav exists; overwrite it with --force (--out)"
    assert out.read_bytes() == b"precious"
    editx("clone", "Hello.", "--voice", "alloy", "-o", "out.wav", "--force")
    assert seconds_of(out) > 0.1


def test_a_server_makes_the_same_samples(editx: CommandLine, keyed: KeyedServer, speech: tuple[Clip, str]):
    order = ["clone", "Hello, my friend.", "--ref", "me.wav", "--ref-text", speech[1], "--seed", 3, "--emotion", "sad"]
    here = editx.json(*order, "-o", "here.wav")
    there = editx.json(*order, "-o", "there.wav", **keyed.variables)
    assert (editx.folder / "here.wav").read_bytes() == (editx.folder / "there.wav").read_bytes()
    assert {name: here[name] for name in ("seconds", "seed", "variant")} == {
        name: there[name] for name in ("seconds", "seed", "variant")
    }
    assert there["timings"]["total"] > 0
    voice = editx.json(
        "clone", "Hello.", "--voice", "onyx", "-o", "v.opus", "--seed", 9,
        "--server", keyed.url, "--api-key", "another",
    )  # fmt: skip
    assert (voice["format"], voice["seed"]) == ("opus", 9)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_interrupting_cancels_and_leaves_nothing(editx: CommandLine, kind: signal.Signals):
    with editx.start("clone", LONG, "--voice", "alloy", "-o", "out.wav") as running:
        running.wait_for(r"\d\.\d s of audio")
        workers = running.descendants()
        assert workers
        running.interrupt(kind)
        assert running.wait() == 130
        assert "error: interrupted" in running.shown
        assert all_gone(workers)
    assert sorted(path.name for path in editx.folder.iterdir()) == ["data", "me.wav"]


def test_interrupting_hangs_up_on_the_server(editx: CommandLine, keyed: KeyedServer):
    with editx.start("clone", LONG, "--voice", "alloy", "-o", "out.wav", **keyed.variables) as running:
        running.wait_for("working at")
        running.interrupt()
        assert running.wait() == 130
    # Another request is answered: the one that was left has given its place back.
    editx("clone", "Hello.", "--voice", "alloy", "-o", "next.wav", **keyed.variables)
    assert not (editx.folder / "out.wav").exists()


def test_a_terminal_shows_stages_and_then_the_result(editx: CommandLine):
    with editx.start("clone", "Hello. " * 10, "--voice", "alloy", "-o", "out.wav") as running:
        # Waking the model takes less time than one picture of the bar, so it may not be seen.
        running.wait_for(r"clone.*s of audio")
        assert running.wait() == 0
        assert "out.wav" in running.shown


def test_errors_are_json_when_asked(editx: CommandLine):
    found = editx.json("clone", "Hello.", "--voice", "nobody", "-o", "out.wav", code=3)
    assert found["error"]["code"] == "not_found"
    assert found["error"]["exit_code"] == 3
    assert "nobody" in found["error"]["message"]
    assert json.dumps(found).isascii()


def test_a_result_that_was_cut_is_announced(editx: CommandLine, native_root: Path) -> None:
    """These weights know no end, and a text as short as this one may have 5.04 s."""
    clone = ("clone", "Hi.", "--voice", "alloy", "--seed", 1, "--model-path", native_root)
    made = editx.json(*clone, "-o", "one.wav")
    assert made["finish_reason"] == ("length" if made["seconds"] == 5.04 else "stop")
    said = editx(*clone, "-o", "two.wav").stderr
    assert (b"warning: the result reached its limit" in said) == (made["finish_reason"] == "length")
    assert editx.json("clone", "Hi.", "--voice", "alloy", "-o", "lite.wav")["finish_reason"] == "stop"
