"""`editx batch`: checked before it begins, resumed after a kill, each line for itself."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import wave
from contextlib import closing
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from editx.cli.files import sweep, write_whole
from editx.cli.journal import Journal
from tests.cli.conftest import KeyedServer
from tests.cli.running import EDITX, CommandLine, all_gone, environment


def write(editx: CommandLine, *lines: dict[str, Any] | str, name: str = "manifest.jsonl") -> str:
    rows = [line if isinstance(line, str) else json.dumps(line, ensure_ascii=False) for line in lines]
    (editx.folder / name).write_text("\n".join(rows) + "\n")
    return name


def results(editx: CommandLine, folder: str = "out") -> list[dict[str, Any]]:
    return [json.loads(row) for row in (editx.folder / folder / "results.jsonl").read_text().splitlines()]


def spoken(number: int, text: str = "Hello.") -> dict[str, Any]:
    return {"id": f"line-{number}", "text": f"{text} Number {number}.", "voice": "alloy", "seed": number}


def test_every_kind_of_line_here_and_through_a_server(editx: CommandLine, keyed: KeyedServer, speech: tuple[Clip, str]):
    words = speech[1]
    (editx.folder / "noise.wav").write_bytes(b"RIFF, but no recording")
    manifest = write(
        editx,
        {"text": "Hello!", "voice": "alloy", "steps": [{"type": "emotion", "info": "happy"}], "seed": 1},
        "",
        {"id": "mine", "text": "Hello!", "ref_audio": "me.wav", "ref_text": words, "format": "mp3", "seed": 2},
        {"id": 7, "source": "noise.wav", "steps": [{"type": "denoise"}]},
        {"source": "me.wav", "transcript": words, "steps": [{"type": "speed", "info": "faster"}], "out": "a/ü 1.flac"},
    )
    done = editx("batch", manifest, "-o", "out", "--jobs", 3, code=1)
    assert done.stdout == b"3 of 4 lines done, 1 failed; see out/results.jsonl\n"
    complaint = done.stderr.decode()
    assert complaint.startswith("line 4 (7) failed: the file is not audio we can read")
    assert complaint.count("\n") == 1
    assert sorted(path.name for path in (editx.folder / "out").rglob("*") if path.is_file()) == [
        "000001.wav", "mine.mp3", "results.jsonl", "ü 1.flac",
    ]  # fmt: skip
    rows = {row["line"]: row for row in results(editx)}
    assert {line: row["status"] for line, row in rows.items()} == {1: "ok", 3: "ok", 4: "failed", 5: "ok"}
    assert (rows[1]["variant"], rows[1]["seed"], rows[1]["out"]) == ("lite", 1, "000001.wav")
    assert rows[4]["error"]["code"] == "undecodable_audio"
    faster = Decoder().decode_path(editx.folder / "out" / "a" / "ü 1.flac")
    assert rows[5]["seconds"] == pytest.approx(faster.seconds, abs=0.01)
    assert faster.seconds < speech[0].seconds

    found = editx.json("batch", manifest, "-o", "there", "--jobs", 3, code=1, **keyed.variables)
    assert (found["lines"], found["done"], found["skipped"]) == (4, 3, 0)
    assert [failed["line"] for failed in found["failed"]] == [4]
    for name in ("000001.wav", "mine.mp3"):
        assert (editx.folder / "out" / name).read_bytes() == (editx.folder / "there" / name).read_bytes()


def test_a_killed_batch_goes_on_where_it_was(editx: CommandLine):
    lines = [spoken(number) for number in range(12)]
    manifest = write(editx, *lines)
    with editx.start("batch", manifest, "-o", "out", "--jobs", 2) as running:
        running.wait_for(r"\D[3-9]/12")
        children = running.descendants()
        running.process.kill()
        assert running.process.wait() == -signal.SIGKILL
        assert all_gone(children)
    out = editx.folder / "out"
    before = {row["out"]: row for row in results(editx)}
    assert 3 <= len(before) < 12
    for path in out.glob("[!.]*.wav"):
        with wave.open(str(path)) as file:  # every file is whole, whether the journal knows of it or not
            assert len(file.readframes(file.getnframes())) == 2 * file.getnframes() > 0
    times = {name: (out / name).stat().st_mtime_ns for name in before}
    (out / ".line-11.wav.0123abcd.part").write_bytes(b"left by the kill")
    with (out / "results.jsonl").open("ab") as journal:
        journal.write(b'{"line": 12, "id": "line-11", "dig')  # cut off by the kill

    again = editx("batch", manifest, "-o", "out", "--jobs", 2)
    assert f"{12 - len(before)} of 12 lines done, {len(before)} done before, 0 failed".encode() in again.stdout
    assert {name: (out / name).stat().st_mtime_ns for name in before} == times
    assert sorted(path.name for path in out.iterdir()) == sorted(
        [*(f"line-{number}.wav" for number in range(12)), "results.jsonl"]
    )
    assert sorted(row["line"] for row in results(editx)) == list(range(1, 13))

    assert editx.json("batch", manifest, "-o", "out")["skipped"] == 12


def test_what_changed_or_failed_or_went_is_done_again(editx: CommandLine, speech_wav: bytes):
    (editx.folder / "late.wav").write_bytes(b"")
    late = {"id": "late", "source": "late.wav", "steps": [{"type": "denoise"}]}
    manifest = write(editx, spoken(1, "Hi."), spoken(2, "Hi."), spoken(3, "Hi."), late)
    assert editx.json("batch", manifest, "-o", "out", code=1)["done"] == 3
    write(editx, spoken(1, "Hi."), spoken(2, "Hi there."), spoken(3, "Hi."), late)
    (editx.folder / "out" / "line-3.wav").unlink()
    (editx.folder / "late.wav").write_bytes(speech_wav)
    again = editx.json("batch", manifest, "-o", "out")
    assert (again["done"], again["skipped"]) == (3, 1)
    assert [row["id"] for row in results(editx)].count("line-1") == 1


def test_interrupting_keeps_what_is_done(editx: CommandLine):
    manifest = write(editx, *[spoken(number, "Hi there, how are you? " * 8) for number in range(30)])
    with editx.start("batch", manifest, "-o", "out") as running:
        running.wait_for(r"\D[1-9]\d*/30")
        running.interrupt()
        assert running.wait() == 130
    done = [row["out"] for row in results(editx)]
    assert 1 <= len(done) < 30
    assert sorted(path.name for path in (editx.folder / "out").iterdir()) == sorted([*done, "results.jsonl"])


def test_a_manifest_is_checked_before_anything_is_made(editx: CommandLine):
    hello = {"text": "Hello.", "voice": "alloy"}
    lines: list[tuple[dict[str, Any] | str, str]] = [
        (hello | {"id": "fine"}, ""),
        ('{"text": "Hello."', "Input data was truncated"),
        ("[1]", "Expected `object`, got `array`"),
        (hello | {"speaker": "x"}, "unknown field `speaker`"),
        (hello | {"text": 5}, "Expected `str | null`, got `int` - at `$.text`"),
        (hello | {"text": "  "}, "text: text, what is to be said, is missing or empty"),
        (hello | {"voice": "nobody"}, "voice: there is no voice 'nobody'"),
        (hello | {"ref_audio": "me.wav"}, "this one has voice and ref_audio"),
        ({"text": "Hello."}, "this one has none"),
        (hello | {"ref_text": "x"}, "ref_text: ref_text does not go with voice"),
        ({"text": "Hello.", "ref_audio": "gone.wav", "ref_text": "x"}, "ref_audio: there is no file gone.wav"),
        ({"text": "Hello.", "ref_audio": "me.wav"}, "ref_text: clone needs the words"),
        ({"source": "me.wav"}, "steps: a source is edited by steps"),
        ({"source": "me.wav", "steps": [{"type": "emotion", "info": "sad"}]}, "transcript: emotion needs the words"),
        ({"source": "me.wav", "steps": [{"type": "denoise"}], "text": "x"}, "text: text does not go with source"),
        (hello | {"steps": [{"type": "emotion", "info": "hapy"}]}, "steps[0].info: 'hapy' is no option"),
        (hello | {"steps": [{"type": "clone", "text": "x"}]}, "steps: clone can only be the first step"),
        (hello | {"seed": -1}, "seed: a seed is a whole number"),
        (hello | {"language": "tlh"}, "language: 'tlh' is no language"),
        (hello | {"format": "wma"}, "format: 'wma' is no audio format"),
        (hello | {"out": "a.txt"}, "out: the ending of 'a.txt' names no audio format"),
        (hello | {"out": "a.mp3", "format": "wav"}, "out: 'a.mp3' ends like mp3, and the format is wav"),
        (hello | {"out": "../a.wav"}, "out: '../a.wav' is no safe file name"),
        (hello | {"out": "/etc/a.wav"}, "out: '/etc/a.wav' is no safe file name"),
        (hello | {"out": "a//b.wav"}, "is no safe file name"),
        (hello | {"out": "a\\b.wav"}, "is no safe file name"),
        (hello | {"out": "a\nb.wav"}, "is no safe file name"),
        (hello | {"out": ".a.wav"}, "is a name that the batch itself may use"),
        (hello | {"out": "link/a.wav"}, "out: 'link/a.wav' leads out of"),
        (hello | {"id": "a/b"}, "id: 'a/b' cannot name a file"),
        (hello | {"id": "x" * 300}, "is too long for a file name"),
        (hello | {"id": "FINE"}, "out: FINE.wav is what line 1 writes already"),
    ]
    (editx.folder / "out").mkdir()
    (editx.folder / "out" / "link").symlink_to(editx.folder)
    manifest = write(editx, *[line for line, _ in lines])
    wrong = [(number, said) for number, (_, said) in enumerate(lines, 1) if said]
    shown = editx.error("batch", manifest, "-o", "out", code=2).split("\n  ")
    assert shown[0] == f"manifest.jsonl: {len(wrong)} of {len(lines)} lines do not fit"
    assert shown[-1] == f"and {len(wrong) - 20} more"
    for first in range(0, len(wrong), 20):
        part = wrong[first : first + 20]
        # The first line is always there: what is wrong with a later one may lie in it.
        kept = {1, *dict(part)}
        manifest = write(editx, *[line if n in kept else "" for n, (line, _) in enumerate(lines, 1)])
        shown = editx.error("batch", manifest, "-o", "out", code=2).split("\n  ")[1:]
        for (number, said), problem in zip(part, shown, strict=True):
            assert problem.startswith(f"line {number}: ")
            assert said in problem
    assert sorted(path.name for path in (editx.folder / "out").iterdir()) == ["link"]


def test_usage(editx: CommandLine):
    hello = {"text": "Hello.", "voice": "alloy", "out": "me.wav"}
    manifest = write(editx, hello)
    assert "me.wav exists" in editx.error("batch", manifest, "-o", ".", code=4)
    own = write(editx, {"source": "me.wav", "steps": [{"type": "denoise"}], "out": "me.wav"}, name="own.jsonl")
    assert "would overwrite the recording" in editx.error("batch", own, "-o", ".", "--force", code=2)
    assert "gone.jsonl cannot be read" in editx.error("batch", "gone.jsonl", "-o", "out", code=2)
    empty = write(editx, "", name="empty.jsonl")
    assert "has no lines" in editx.error("batch", empty, "-o", "out", code=2)
    assert "no weights" in editx.error("batch", manifest, "-o", "out", "--variant", "awq", code=6)
    (editx.folder / "out").mkdir()
    (editx.folder / "out" / "results.jsonl").write_text("not\na journal\n")
    assert "is not a journal of EditX" in editx.error("batch", manifest, "-o", "out", code=2)


def test_a_begun_batch_overwrites_no_file_that_it_did_not_make(editx: CommandLine, speech_wav: bytes):
    manifest = write(editx, spoken(1), spoken(2))
    editx("batch", manifest, "-o", "out")
    out = editx.folder / "out"
    (out / "line-3.wav").write_bytes(speech_wav)
    write(editx, spoken(1), spoken(2, "Hi."), spoken(3), spoken(4))
    assert "line-3.wav exists" in editx.error("batch", manifest, "-o", "out", code=4)
    assert (out / "line-3.wav").read_bytes() == speech_wav
    assert len(results(editx)) == 2
    write(editx, spoken(1), spoken(2, "Hi."), spoken(4))
    assert editx.json("batch", manifest, "-o", "out")["done"] == 2  # what the batch made itself may be made anew
    write(editx, spoken(3))
    assert editx.json("batch", manifest, "-o", "out", "--force")["done"] == 1
    assert (out / "line-3.wav").read_bytes() != speech_wav
    assert sorted(path.name for path in out.iterdir()) == [*(f"line-{n}.wav" for n in (1, 2, 3, 4)), "results.jsonl"]


def test_a_file_made_just_before_a_kill_belongs_to_the_batch(tmp_path: Path):
    made, other = PurePosixPath("made.wav"), PurePosixPath("other.wav")
    killed = Journal(tmp_path)
    killed.claim([made]).__enter__()
    killed.close()
    with closing(Journal(tmp_path)) as journal:
        assert journal.owns(made)
        assert not journal.owns(other)
        with journal.claim([other]):
            pass
    with closing(Journal(tmp_path)) as journal:
        assert not journal.owns(made)
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_no_line_overwrites_what_a_line_is_made_from(editx: CommandLine, speech_wav: bytes):
    (editx.folder / "two.wav").write_bytes(speech_wav)
    (editx.folder / "three.wav").symlink_to("two.wav")
    (editx.folder / "sub").symlink_to(".")
    hello = {"text": "Hello.", "voice": "alloy"}
    manifest = write(
        editx,
        hello | {"out": "me.wav"},
        {"source": "me.wav", "steps": [{"type": "denoise"}], "out": "x.wav"},
        {"text": "Hello.", "ref_audio": "two.wav", "ref_text": "Hi.", "out": "three.wav"},
        hello | {"out": "manifest.jsonl", "format": "wav"},
        hello | {"out": "sub/x.wav"},
    )
    before = (editx.folder / manifest).read_bytes()
    shown = editx.error("batch", manifest, "-o", ".", "--force", code=2).split("\n  ")
    assert shown[1:] == [
        "line 1: out: me.wav would overwrite the recording that line 2 is made from",
        "line 3: out: three.wav would overwrite the recording that line 3 is made from",
        "line 4: out: manifest.jsonl would overwrite the manifest",
        "line 5: out: sub/x.wav is what line 2 writes already",
    ]
    assert (editx.folder / "me.wav").read_bytes() == speech_wav
    assert (editx.folder / manifest).read_bytes() == before


def test_two_batches_do_not_share_a_folder(editx: CommandLine):
    manifest = write(editx, *[spoken(number) for number in range(30)])
    with editx.start("batch", manifest, "-o", "out") as running:
        running.wait_for(r"\D[1-9]\d*/30")
        assert "another batch is writing to out" in editx.error("batch", manifest, "-o", "out", code=4)


def test_files_are_written_whole_or_not_at_all(tmp_path: Path):
    out = tmp_path / "a.wav"
    write_whole(out, b"old")
    mask = os.umask(0o022)
    os.umask(mask)
    assert out.stat().st_mode & 0o777 == 0o666 & ~mask
    for left in (".a.wav.0123abcd.part", ".b.wav.0123abcd.part", ".a.wav.part"):
        (tmp_path / left).write_bytes(b"half")
    sweep([out])
    assert sorted(path.name for path in tmp_path.iterdir()) == [".a.wav.part", ".b.wav.0123abcd.part", "a.wav"]
    assert out.read_bytes() == b"old"


def test_a_full_disk_fails_the_line_and_leaves_nothing(editx: CommandLine):
    """A limit on file size stands in for a full disk: writing fails midway, in the process that writes."""
    manifest = write(editx, spoken(1), {"id": "short", "text": "Hi.", "voice": "alloy", "format": "opus"})
    script = f"trap '' XFSZ; ulimit -f 64; exec {EDITX} batch {manifest} -o out"
    variables = environment(editx.folder / "data")
    done = subprocess.run(
        ["bash", "-c", script], cwd=editx.folder, env=variables, capture_output=True, timeout=120, check=False
    )
    assert done.returncode == 1, done.stderr
    assert re.match(rb"line 1 \(line-1\) failed: cannot write out/line-1.wav: File too large", done.stderr)
    assert sorted(path.name for path in (editx.folder / "out").iterdir()) == ["results.jsonl", "short.opus"]
