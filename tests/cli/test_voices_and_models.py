"""`editx voices` and `editx models`, here and through a server."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import encode
from tests.cli.conftest import KeyedServer
from tests.cli.running import EDITX, CommandLine, environment


@pytest.mark.parametrize("where", ["here", "server"])
def test_a_voice_is_added_used_and_deleted(
    editx: CommandLine, keyed: KeyedServer, speech: tuple[Clip, str], where: str
):
    there = keyed.variables if where == "server" else {}
    words = speech[1]
    added = editx.json("voices", "add", "My Voice", "me.wav", "--transcript", words, "--locale", "en-US", **there)
    assert (added["name"], added["locale"], added["builtin"]) == ("My Voice", "en-US", False)
    assert added["seconds"] == pytest.approx(speech[0].seconds, abs=0.01)
    names = [voice["name"] for voice in editx.json("voices", "list", **there)]
    assert {"My Voice", "alloy", "maple"} <= set(names)
    table = editx("voices", "list", **there).stdout.decode()
    assert len(table.splitlines()) == 1 + len(names)
    assert editx.json("voices", "show", "my voice", **there) == added
    again = ("voices", "add", "My Voice", "me.wav", "--transcript", words)
    editx.error(*again, code=4, **there)
    editx(*again, "--replace", **there)
    editx("clone", "Hello.", "--voice", "My Voice", "-o", "x.wav", **there)
    assert editx("voices", "delete", "My Voice", **there).stdout == b"deleted My Voice\n"
    assert "My Voice" in editx.error("voices", "show", "My Voice", code=3, **there)
    editx.error("voices", "delete", "alloy", code=4, **there)


@pytest.mark.parametrize("where", ["here", "server"])
def test_a_voice_is_renamed(editx: CommandLine, keyed: KeyedServer, speech: tuple[Clip, str], where: str):
    there = keyed.variables if where == "server" else {}
    editx("voices", "add", "old", "me.wav", "--transcript", speech[1], **there)
    assert editx.json("voices", "rename", "old", "new", **there)["name"] == "new"
    editx.error("voices", "rename", "old", "newer", code=3, **there)
    editx.error("voices", "rename", "new", "alloy", code=4, **there)
    assert "'a/b'" in editx.error("voices", "rename", "new", "a/b", code=2, **there)
    assert editx("voices", "delete", "new", **there).stdout == b"deleted new\n"


def test_a_disk_that_takes_no_more_is_said_in_a_line(editx: CommandLine):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 72_000).astype(np.float32)
    (editx.folder / "noise.opus").write_bytes(encode(Clip(noise, 24_000), "opus"))  # small, and large as a recording
    editx("voices", "list")
    add = (EDITX, "voices", "add", "mine", "noise.opus", "--transcript", "Hush.")
    done = subprocess.run(
        ["sh", "-c", 'ulimit -f 128; exec "$@"', "sh", *add], cwd=editx.folder,
        env=environment(editx.folder / "data"), capture_output=True, check=False,
    )  # fmt: skip
    said = done.stderr.decode()
    assert done.returncode == 9, said
    (line,) = said.splitlines()
    assert line.startswith(f"error: the voices in {editx.folder / 'data' / 'voices'} cannot be changed: File too large")


def test_words_of_a_voice_are_shown_as_they_are(editx: CommandLine):
    words = "Well [Laughter] hello [/] there, [bold]you[/bold] :smile:"
    for command in (["add", "mine", "me.wav", "--transcript", words], ["show", "mine"], ["list"]):
        assert words in editx("voices", *command).stdout.decode()
    editx("voices", "add", "two", "me.wav", "--transcript", "One line,\nand another.")
    assert "One line, and another." in editx("voices", "list").stdout.decode()


def test_recordings_that_make_no_voice(editx: CommandLine):
    assert "gone.wav" in editx.error("voices", "add", "x", "gone.wav", "--transcript", "Hi.", code=3)
    assert "are empty" in editx.error("voices", "add", "x", "me.wav", "--transcript", " ", code=2)
    (editx.folder / "text.txt").write_text("Hello.")
    assert "not audio" in editx.error("voices", "add", "x", "text.txt", "--transcript", "Hi.", code=2)


def test_models_here_say_why_not(editx: CommandLine):
    found = editx.json("models")
    assert list(found) == ["base", "awq", "bnb", "lite"]
    assert found["lite"]["available"]
    assert "models/Step-Audio-EditX" in found["base"]["reason"]
    weights = editx.folder / "else[/]where"
    table = editx("models", "--model-path", weights).stdout.decode()
    assert f"no weights at {weights}/Step-Audio-EditX-AWQ-4bit" in table


def test_models_of_a_server_are_loaded_and_unloaded(editx: CommandLine, keyed: KeyedServer):
    there = keyed.variables
    assert editx.json("models", "load", "lite", **there) == {"status": "loaded", "variant": "lite"}
    assert editx.json("models", **there)["lite"]["loaded"]
    assert " ready " in editx("models", **there).stdout.decode()
    assert editx("models", "unload", "lite", "--now", **there).stdout == b"lite is unloaded\n"
    assert editx.json("models", **there)["lite"]["state"] == "unloaded"
    editx.error("models", "load", "base", code=6, **there)
    editx.error("models", "unload", "bse", code=3, **there)
