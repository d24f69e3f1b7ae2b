"""What a kill, a lost index or a damaged one leaves of the library."""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from editx.errors import NotFound
from editx.voices import VoiceLibrary
from tests.audio.sounds import tone

ROOT = Path(__file__).parent.parent.parent


def open_library(directory: Path) -> VoiceLibrary:
    return VoiceLibrary(directory, builtin=directory / "no built-in voices")


def own(directory: Path) -> dict[str, str]:
    """Names and transcripts, each with a recording that can be decoded."""
    with open_library(directory) as library:
        voices = library.list()
        for voice in voices:
            assert voice.clip().seconds == pytest.approx(float(voice.transcript.split()[0]) / 10)
        return {voice.name: voice.transcript for voice in voices}


def test_a_lost_index_is_made_again(tmp_path: Path) -> None:
    with open_library(tmp_path) as library:
        library.add("a", tone(0.3), "3 first", "en", title="Title")
        library.add("b", tone(0.4), "4 second")
        library.rename("b", "c")
        before = library.list()
    for path in tmp_path.glob("index.sqlite*"):
        path.unlink()
    with open_library(tmp_path) as library:
        assert library.list() == before


@pytest.mark.parametrize("damage", ["noise", "empty", "middle", "row"])
def test_a_damaged_index_is_moved_aside_and_made_again(
    tmp_path: Path, damage: str, caplog: pytest.LogCaptureFixture
) -> None:
    with open_library(tmp_path) as library:
        for i in range(3, 23):
            library.add(f"voice {i}", tone(i / 10), f"{i} " + "words " * 400)
        before = library.list()
    index = tmp_path / "index.sqlite"
    match damage:
        case "noise":
            index.write_bytes(random.Random(1).randbytes(20_000))
        case "empty":
            index.write_bytes(b"")
        case "middle":
            data = bytearray(index.read_bytes())
            data[4096 : len(data) - 100] = bytes(len(data) - 4196)
            index.write_bytes(data)
        case "row":
            database = sqlite3.connect(index)
            with database:
                database.execute("update voices set record = x'7b7d' where key = 'voice 4'")
            database.close()
    with caplog.at_level(logging.ERROR), open_library(tmp_path) as library:
        assert library.list() == before
        assert library.get("voice 3").clip().seconds == pytest.approx(0.3)
    if damage != "empty":
        assert "is damaged" in caplog.text
        assert len(list(tmp_path.glob("index.sqlite.damaged-*"))) == 1


def test_files_that_no_voice_needs_are_cleaned_up(tmp_path: Path) -> None:
    with open_library(tmp_path) as library:
        library.add("a", tone(0.3), "3")
    (tmp_path / "half.flac.1234.tmp").write_bytes(b"half")
    (tmp_path / "0123.flac").write_bytes(b"orphan")
    (tmp_path / "notes.txt").write_text("the owner's")
    assert own(tmp_path) == {"a": "3"}
    assert {path.suffix for path in tmp_path.iterdir()} == {".flac", ".json", ".sqlite", ".lock", ".txt"}
    assert len(list(tmp_path.glob("*.flac"))) == 1


def test_a_description_that_was_lost_is_written_again(tmp_path: Path) -> None:
    with open_library(tmp_path) as library:
        library.add("a", tone(0.3), "3")
    for path in tmp_path.glob("*.json"):
        path.unlink()
    assert own(tmp_path) == {"a": "3"}
    (tmp_path / "index.sqlite").unlink()
    assert own(tmp_path) == {"a": "3"}


def test_a_description_that_cannot_be_read_is_left_with_its_recording(tmp_path: Path) -> None:
    with open_library(tmp_path) as library:
        library.add("a", tone(0.3), "3")
    (tmp_path / "index.sqlite").unlink()
    (sidecar,) = tmp_path.glob("*.json")
    sidecar.write_text("{ damaged")
    assert own(tmp_path) == {}
    assert sidecar.exists()
    assert sidecar.with_suffix(".flac").exists()


def test_a_voice_whose_recording_is_gone_says_so(tmp_path: Path) -> None:
    with open_library(tmp_path) as library:
        voice = library.add("a", tone(0.3), "3")
        (tmp_path / voice.file).unlink()
        with pytest.raises(NotFound, match="recording was deleted"):
            library.get("a").clip()
        library.add("a", tone(0.4), "4", replace=True)
        assert library.get("a").clip().seconds == pytest.approx(0.4)


WRITER = """
import itertools, sys
from pathlib import Path
from editx.voices import VoiceLibrary
from tests.audio.sounds import tone

library = VoiceLibrary(sys.argv[1], builtin=Path(sys.argv[1]) / "none")
present = any(voice.name == "moving" for voice in library.list())
for round in itertools.count(int(sys.argv[2])):
    length = 1 + round % 5
    library.add("kept", tone(length / 10), f"{length} {round}", replace=True)
    print(f"kept {length} {round}", flush=True)
    library.add("moving", tone(length / 10), f"{length} {round}", replace=True)
    library.rename("moving", "moved")
    print("moved", flush=True)
    library.delete("moved")
    print("deleted", flush=True)
"""


def test_a_kill_at_any_moment_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    chance = random.Random(11)
    promised = -1
    for kill in range(8):
        writer = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(1000 * kill)],
            stdout=subprocess.PIPE, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        )  # fmt: skip
        assert writer.stdout is not None
        lines = []
        for line in writer.stdout:
            lines.append(line.split())
            if len(lines) == 3 + kill % 7:
                break
        # The writer goes on meanwhile; where the kill strikes is anybody's guess.
        for _ in range(chance.randrange(200_000)):
            pass
        os.kill(writer.pid, signal.SIGKILL)
        lines += [line.split() for line in writer.stdout if line.endswith("\n")]
        writer.wait()
        writer.stdout.close()
        promised = max(int(line[2]) for line in lines if line[0] == "kept")
        voices = own(tmp_path)
        assert int(voices["kept"].split()[1]) in (promised, promised + 1)
        assert set(voices) <= {"kept", "moving", "moved"}
        recordings = {path.stem for path in tmp_path.glob("*.flac")}
        assert recordings == {path.stem for path in tmp_path.glob("*.json")}
        assert len(recordings) == len(voices)
        assert not list(tmp_path.glob("*.tmp"))
        assert not list(tmp_path.glob("*.damaged-*"))
    assert promised >= 7_000


CRAMPED = """
import json, resource, sys
from pathlib import Path
from editx.errors import StorageFailed
from editx.voices import VoiceLibrary
from tests.audio.sounds import speech_like

directory = Path(sys.argv[1])
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
library = VoiceLibrary(directory, builtin=directory / "none")
clip = speech_like(0.5)
library.add("kept", clip, "5 first")
expected, outcomes = {"kept": "5 first"}, []


def add(name, words):
    library.add(name, clip, words, replace=True)
    expected[name] = words


def rename(old, new):
    if old in expected:
        library.rename(old, new)
        expected[new] = expected.pop(old)


def delete(name):
    if name in expected:
        library.delete(name)
        del expected[name]


for round in range(40):
    for change in (
        lambda: add("new", f"5 {round}"), lambda: add("kept", f"5 {round} " + "words " * 600),
        lambda: rename("new", "other"), lambda: delete("other"),
    ):
        resource.setrlimit(resource.RLIMIT_FSIZE, (round * 2500, hard))  # no file grows further, as on a full disk
        try:
            change()
            outcomes.append("ok")
        except StorageFailed as error:
            assert str(directory) in error.message and "cannot be changed" in error.message, error
            outcomes.append("failed")
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
        assert {voice.name: voice.transcript for voice in library.list()} == expected, (round, outcomes)
library.close()
print(json.dumps([expected, outcomes.count("ok"), outcomes.count("failed")]))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows limits no sizes of files")
def test_a_disk_that_takes_no_more_is_told_and_costs_no_voice(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", CRAMPED, str(tmp_path)], capture_output=True, text=True, cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    expected, kept, failed = json.loads(done.stdout)
    assert kept
    assert failed
    assert own(tmp_path) == expected
    assert {path.stem for path in tmp_path.glob("*.flac")} == {path.stem for path in tmp_path.glob("*.json")}
    assert len(list(tmp_path.glob("*.flac"))) == len(expected)
