"""Recordings named by file and by folder, with their words beside them or on the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from editx.cli.recordings import find_recordings
from editx.engines.step.quantize_audio import Recording
from editx.errors import InvalidRequest, NotFound


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "deeper").mkdir()
    for name in ("b.wav", "a.MP3", "deeper/c.flac", "notes.md"):
        (tmp_path / name).touch()
    (tmp_path / "a.txt").write_text(" What I say.\n", "utf-8-sig")
    return tmp_path


def test_a_folder_is_searched_to_its_end(folder: Path) -> None:
    found = find_recordings([folder], [])
    assert found == (
        Recording(folder / "a.MP3", "What I say."),
        Recording(folder / "b.wav"),
        Recording(folder / "deeper/c.flac"),
    )


def test_a_file_that_is_named_may_end_in_anything(folder: Path) -> None:
    assert find_recordings([folder / "notes.md", folder / "a.MP3"], []) == (
        Recording(folder / "notes.md"),
        Recording(folder / "a.MP3", "What I say."),
    )


def test_words_on_the_command_line_go_with_files_in_order(folder: Path) -> None:
    files = [folder / "b.wav", folder / "a.MP3"]
    assert find_recordings(files, ["One.", "Two."]) == (Recording(files[0], "One."), Recording(files[1], "Two."))
    with pytest.raises(InvalidRequest, match="there are 1 for 2"):
        find_recordings(files, ["One."])
    with pytest.raises(InvalidRequest, match=r"me\.txt beside it"):
        find_recordings([folder], ["One."])


def test_what_is_not_there_is_said(folder: Path) -> None:
    for transcripts in ([], ["One."]):
        with pytest.raises(NotFound, match=r"no file .*gone\.wav"):
            find_recordings([folder / "gone.wav"], transcripts)
    (folder / "deeper" / "c.flac").unlink()
    with pytest.raises(InvalidRequest, match=r"no recording in .*deeper"):
        find_recordings([folder / "deeper"], [])
    (folder / "b.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(InvalidRequest, match=r"b\.txt cannot be read: it is not UTF-8"):
        find_recordings([folder / "b.wav"], [])
