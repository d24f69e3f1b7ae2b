from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import encode
from editx.errors import Conflict, InvalidRequest, MissingTranscript, NotFound, TooLarge
from editx.voices import OPENAI_NAMES, VoiceLibrary
from tests.audio.sounds import speech_like, tone

BUILTIN = [
    ("pine", "Pine", "zh-CN", "A steady man's voice."),
    ("rose", "Rose", "en-US", "A clear woman's voice."),
    ("oak", "Oak", "en-US", "A deep male voice."),
    ("lily", "Lily", "zh-CN", "A soft female voice."),
]


@pytest.fixture(scope="session")
def builtin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("builtin")
    for i, (name, *_) in enumerate(BUILTIN):
        (directory / f"{name}.flac").write_bytes(encode(speech_like(3.0 + i, seed=i), "flac"))
    entries = [
        {"name": n, "title": t, "locale": loc, "transcript": f"I am {t}.", "file": f"{n}.flac", "description": d}
        for n, t, loc, d in BUILTIN
    ]
    (directory / "index.json").write_text(json.dumps(entries), encoding="utf-8")
    return directory


@pytest.fixture
def library(tmp_path: Path, builtin: Path) -> Iterator[VoiceLibrary]:
    with VoiceLibrary(tmp_path / "voices", builtin=builtin) as opened:
        yield opened


def files(library_directory: Path) -> set[str]:
    return {path.suffix for path in library_directory.iterdir() if path.suffix in (".flac", ".json", ".tmp")}


def test_a_voice_comes_back_as_it_was_given(library: VoiceLibrary) -> None:
    clip = speech_like(5.0, 44_100)
    added = library.add("My voice 1", clip, "  hello there ", "en-GB", title="Mine")
    voice = library.get("My voice 1")
    assert voice == added
    assert (voice.name, voice.title, voice.transcript, voice.locale) == ("My voice 1", "Mine", "hello there", "en-GB")
    assert (voice.rate, voice.builtin, voice.seconds, voice.warnings) == (44_100, False, 5.0, ())
    assert voice.clip().rate == 44_100
    assert np.allclose(voice.clip().samples, clip.samples, atol=1e-6)


def test_a_voice_is_there_after_reopening(tmp_path: Path, builtin: Path) -> None:
    with VoiceLibrary(tmp_path, builtin=builtin) as library:
        added = library.add("a", speech_like(3.0), "words")
    with VoiceLibrary(tmp_path, builtin=builtin) as library:
        assert library.get("a") == added
        assert library.get("a").clip().seconds == pytest.approx(3.0)


def test_high_rates_are_kept_at_48_khz(library: VoiceLibrary) -> None:
    assert library.add("a", speech_like(3.0, 96_000), "words").rate == 48_000
    assert library.add("b", speech_like(3.0, 11_025), "words").clip().rate == 11_025


def test_names_are_the_same_in_any_case_and_form(library: VoiceLibrary) -> None:
    library.add("Zoë Straße", speech_like(3.0), "words")
    for name in ("zoë straße", "ZOË STRASSE", "Zoe\u0308 Straße"):
        assert library.get(name).name == "Zoë Straße"
        with pytest.raises(Conflict, match="Zoë Straße"):
            library.add(name, speech_like(3.0), "words")


@pytest.mark.parametrize("name", ["a", "7", "Anna-Lena_2.0", "小明", "Ünïcödé", "हिन्दी", "a b", "x" * 64])
def test_good_names(library: VoiceLibrary, name: str) -> None:
    assert library.get(library.add(name, tone(3.0), "words").name).name == name


@pytest.mark.parametrize(
    "name",
    [
        "", "x" * 65, ".", "..", ".hidden", "a.", " a", "a ", "../a", "a/b", "a\\b", "/etc/passwd", "a\0b", "a\nb",
        "C:a", "a%2fb", "con", "NUL", "com1.txt", "🎤", "a\u202eb", "a\u200bb", "-_-", "a'b", "<b>",
    ],
)  # fmt: skip
def test_bad_names_are_refused_and_write_nothing(tmp_path: Path, library: VoiceLibrary, name: str) -> None:
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(InvalidRequest) as caught:
        library.add(name, speech_like(3.0), "words")
    assert caught.value.param == "name"
    assert sorted(tmp_path.rglob("*")) == before
    with pytest.raises(NotFound):
        library.get(name)


def test_a_taken_name_is_replaced_only_when_asked(tmp_path: Path, library: VoiceLibrary) -> None:
    library.add("a", tone(3.0, hz=200), "first")
    with pytest.raises(Conflict, match="replace"):
        library.add("A", tone(3.0), "second")
    assert library.get("a").transcript == "first"
    library.get("a").clip()
    library.add("A", tone(4.0), "second", replace=True)
    assert (library.get("a").name, library.get("a").transcript) == ("A", "second")
    assert library.get("a").clip().seconds == pytest.approx(4.0)
    assert len(list((tmp_path / "voices").glob("*.flac"))) == 1
    assert len(list((tmp_path / "voices").glob("*.json"))) == 1


def test_rename(library: VoiceLibrary) -> None:
    library.add("a", tone(3.0), "words")
    library.add("b", tone(3.0), "words")
    with pytest.raises(Conflict, match="'b'"):
        library.rename("a", "B")
    with pytest.raises(NotFound):
        library.rename("c", "d")
    with pytest.raises(InvalidRequest):
        library.rename("a", "../a")
    with pytest.raises(Conflict):
        library.rename("a", "Nova")
    renamed = library.rename("a", "New")
    assert (renamed.name, renamed.title) == ("New", "New")
    assert library.rename("new", "NEW").name == "NEW"
    assert library.get("new").clip().seconds == pytest.approx(3.0)
    with pytest.raises(NotFound):
        library.get("a")


def test_delete(tmp_path: Path, library: VoiceLibrary) -> None:
    library.add("a", tone(3.0), "words")
    held = library.get("a")
    library.delete("A")
    assert files(tmp_path / "voices") == set()
    with pytest.raises(NotFound):
        library.get("a")
    with pytest.raises(NotFound):
        library.delete("a")
    with pytest.raises(NotFound, match="'a'"):
        held.clip()


def test_unknown_voices_are_answered_with_similar_ones(library: VoiceLibrary) -> None:
    library.add("narrator", tone(3.0), "words")
    with pytest.raises(NotFound, match="narrator") as caught:
        library.get("narator")
    assert caught.value.param == "voice"


def test_openai_names_always_answer_with_a_voice_of_their_gender(library: VoiceLibrary) -> None:
    assert len(OPENAI_NAMES) == 13
    targets = {name: library.get(name.upper()).alias_of for name in OPENAI_NAMES}
    assert {targets[name] for name in ("alloy", "nova", "shimmer", "coral", "sage", "marin")} == {"rose", "lily"}
    assert {targets[name] for name in ("onyx", "echo", "ash", "fable", "ballad", "verse", "cedar")} == {"oak", "pine"}
    assert targets["alloy"] == "rose"
    alloy = library.get("alloy")
    assert (alloy.name, alloy.transcript, alloy.builtin) == ("alloy", "I am Rose.", True)
    assert alloy.clip().seconds == pytest.approx(alloy.seconds)


def test_built_in_names_are_taken(library: VoiceLibrary) -> None:
    for name in ("rose", "ROSE", "alloy", "Cedar"):
        with pytest.raises(Conflict, match="built-in"):
            library.add(name, tone(3.0), "words", replace=True)
        with pytest.raises(Conflict, match="built in"):
            library.delete(name)
        with pytest.raises(Conflict, match="built in"):
            library.rename(name, "other")


def test_the_list_has_everything_once(library: VoiceLibrary) -> None:
    library.add("b", tone(3.0), "words")
    library.add("A", tone(3.0), "words")
    names = [voice.name for voice in library.list()]
    assert names == ["pine", "rose", "oak", "lily", *OPENAI_NAMES, "A", "b"]
    assert [voice.seconds for voice in library.list()[:4]] == [3.0, 4.0, 5.0, 6.0]


def test_without_built_in_voices_the_names_are_not_found(tmp_path: Path) -> None:
    with VoiceLibrary(tmp_path / "voices", builtin=tmp_path / "none") as library:
        assert library.list() == []
        with pytest.raises(NotFound, match="none"):
            library.get("alloy")


def test_the_packages_own_voices(tmp_path: Path) -> None:
    with VoiceLibrary(tmp_path) as library:
        builtin = [voice for voice in library.list() if not voice.alias_of]
        assert len(builtin) >= 4
        for voice in builtin:
            clip = voice.clip()
            assert voice.transcript
            assert clip.rate == voice.rate
            assert clip.seconds == pytest.approx(voice.seconds)
            assert 3 <= clip.seconds <= 30
        assert {voice.alias_of for voice in library.list() if voice.alias_of} <= {voice.name for voice in builtin}
        assert {"woman" in library.get(name).description for name in ("alloy", "nova", "coral")} == {True}
        assert {"woman" in library.get(name).description for name in ("onyx", "echo", "ash")} == {False}


def test_what_is_no_voice_is_refused(library: VoiceLibrary) -> None:
    with pytest.raises(MissingTranscript) as caught:
        library.add("a", tone(3.0), " \n")
    assert caught.value.param == "transcript"
    with pytest.raises(TooLarge, match="4001"):
        library.add("a", tone(3.0), "x" * 4001)
    for silent in (np.zeros(72_000, np.float32), np.zeros(0, np.float32), np.full(72_000, 1e-4, np.float32)):
        with pytest.raises(InvalidRequest, match="silent"):
            library.add("a", Clip(silent, 24_000), "words")
    with pytest.raises(InvalidRequest, match="give at least"):
        library.add("a", Clip(np.full(240, 0.5, np.float32), 24_000), "words")


def test_warnings_stay_with_the_voice(tmp_path: Path, builtin: Path) -> None:
    with VoiceLibrary(tmp_path, builtin=builtin) as library:
        assert "1.0 s long" in library.add("a", speech_like(1.0), "words").warnings[0]
    with VoiceLibrary(tmp_path, builtin=builtin) as library:
        assert "1.0 s long" in library.get("a").warnings[0]


def test_recordings_handed_out_cannot_be_changed(library: VoiceLibrary) -> None:
    clip = library.add("a", tone(3.0), "words").clip()
    with pytest.raises(ValueError, match="read-only"):
        clip.samples[0] = 1.0


def test_threads_and_libraries_share_a_directory(tmp_path: Path, builtin: Path) -> None:
    """Four libraries on one directory, as four processes would have them, and eight threads that all want one name."""
    libraries = [VoiceLibrary(tmp_path, builtin=builtin) for _ in range(4)]
    clip = tone(0.5)
    wins: list[int] = []
    failures: list[Exception] = []
    start = threading.Barrier(8)

    def work(number: int) -> None:
        library = libraries[number % 4]
        start.wait()
        try:
            library.add(f"own {number}", clip, "words")
            for _ in range(3):
                library.add("shared", clip, str(number), replace=True)
            try:
                library.add("once", clip, "words")
                wins.append(number)
            except Conflict:
                pass
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(wins) == 1
    for library in libraries:
        assert {voice.name for voice in library.list() if not voice.builtin} == {
            *(f"own {number}" for number in range(8)), "shared", "once",
        }  # fmt: skip
        assert library.get("shared").clip().seconds == pytest.approx(0.5)
        library.close()
    assert len(list(tmp_path.glob("*.flac"))) == 10
