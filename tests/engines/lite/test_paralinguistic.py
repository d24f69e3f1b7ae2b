from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from editx import recipe
from editx.engines.base import Context, Progress
from editx.engines.lite.engine import LiteEngine
from editx.engines.lite.sounds import SOUNDS, make_sound
from editx.recipe import Paralinguistic
from tests.engines.lite.helpers import Voice, run
from tests.engines.lite.measure import RATE, frames, level_db, median_pitch, pitch_track, voiced_share

VOICELESS = {"[Breathing]", "[breath]", "[inhale]", "[exhale]"}
RISING = {"[Question-ei]", "[Question-ah]", "[Question-en]"}


def sound(tag: str, median_hz: float = 180.0, seed: int = 0) -> NDArray:
    return make_sound(tag, median_hz, 1.1, -21.0, np.random.default_rng(seed))


def inserted(source: NDArray, result: NDArray) -> tuple[int, int]:
    """Where the result departs from the source, and how many samples later it returns to it."""
    length = len(result) - len(source)
    departs = int(np.flatnonzero(np.abs(result - np.pad(source, (0, length))) > 1e-6)[0])
    return min(departs, len(source)), length


def test_every_tag_has_a_sound() -> None:
    assert set(SOUNDS) == set(recipe.PARALINGUISTIC_TAGS)


@pytest.mark.parametrize("tag", recipe.PARALINGUISTIC_TAGS)
def test_sound_is_audible_short_and_voiced_or_not(tag: str) -> None:
    x = sound(tag)
    assert np.isfinite(x).all()
    assert 0.25 < len(x) / RATE < 2.0
    assert -42 < level_db(x) < -16
    if tag in VOICELESS:
        assert voiced_share(x) < 0.1
    if tag in RISING:
        track = pitch_track(x)
        voiced = track[track > 0]
        assert voiced[-5:].mean() > 1.2 * voiced[:5].mean()


def test_laughter_comes_in_bursts() -> None:
    level = np.sqrt((frames(sound("[Laughter]"), 720, 120) ** 2).mean(axis=1))
    loud = level > 0.35 * level.max()
    assert 4 <= int((np.diff(loud.astype(int)) == 1).sum()) + int(loud[0]) <= 6


@pytest.mark.parametrize("tag", ["[Laughter]", "[Uhm]", "[Surprise-wa]", "[Confirmation-en]"])
def test_voiced_sounds_follow_the_speakers_pitch(tag: str) -> None:
    assert median_pitch(sound(tag, 220.0)) / median_pitch(sound(tag, 110.0)) == pytest.approx(2.0, rel=0.15)


def test_families_differ() -> None:
    """Each kind of sound has its own length and shape; two names of one sound share it."""
    assert SOUNDS["[Laughter]"] == SOUNDS["[laugh]"]
    assert len({repr(puffs) for puffs in SOUNDS.values()}) == len(SOUNDS) - 4


@pytest.mark.parametrize("tag", ["[Laughter]", "[cough]", "[sigh]", "[Question-ei]"])
def test_a_sound_stands_where_its_tag_stands(engine: LiteEngine, woman: Voice, tag: str) -> None:
    words = woman.transcript
    places = {
        "start": f"{tag} {words}",
        "after the first sentence": words.replace(". ", f". {tag} ", 1),
        "end": f"{words} {tag}",
    }
    found = {}
    for name, text in places.items():
        result = run(engine, Paralinguistic(text), woman.clip, words)
        found[name], length = inserted(woman.samples, result)
        assert 0.3 < length / RATE < 2.2
        # before and after the sound the recording is the same but for 5 ms at the cut
        after = found[name] + 240
        assert np.abs(result[: found[name] - 240] - woman.samples[: max(found[name] - 240, 0)]).max(initial=0) < 1e-6
        assert np.abs(result[after + length :] - woman.samples[after:]).max(initial=0) < 1e-6
    seconds = {name: at / RATE for name, at in found.items()}
    level = np.sqrt((frames(woman.samples, 2400, 240) ** 2).mean(axis=1))
    quiet = level < 0.03 * level.max()
    middle = round(found["after the first sentence"] / 240) - 5
    assert quiet[middle - 3 : middle + 4].any()  # it went into the pause between the sentences
    assert seconds["start"] < 0.2
    assert 3.0 < seconds["after the first sentence"] < 5.0
    assert seconds["end"] > len(woman.samples) / RATE - 0.4


def test_several_tags_keep_their_order(engine: LiteEngine, woman: Voice) -> None:
    words = woman.transcript
    one = run(engine, Paralinguistic(words.replace(". ", ". [cough] ", 1)), woman.clip, words)
    both = run(engine, Paralinguistic(words.replace(". ", ". [cough] ", 1) + " [Laughter]"), woman.clip, words)
    n = int(0.9 * len(one))
    assert np.abs(both[:n] - one[:n]).max() < 1e-6
    assert len(both) > len(one) + RATE


def test_unknown_tags_change_nothing(engine: LiteEngine, woman: Voice) -> None:
    result = run(engine, Paralinguistic(f"[Yodelling] {woman.transcript} [Beep boop]"), woman.clip, woman.transcript)
    assert np.array_equal(result, woman.samples)


@pytest.mark.parametrize("tag", ["[laughter]", "[LAUGH]", "[Cough]", "[surprise-Oh]"])
def test_a_tag_in_other_letters_is_the_tag(engine: LiteEngine, woman: Voice, tag: str) -> None:
    result = run(engine, Paralinguistic(f"{woman.transcript} {tag}"), woman.clip, woman.transcript)
    assert len(result) > len(woman.samples) + 0.3 * RATE


def test_every_piece_between_tags_is_said_once(engine: LiteEngine, woman: Voice) -> None:
    """Twice the text with twice the tags takes twice the work, not four times; each piece gives a sign of life."""

    def signs_of_life(tags: int) -> int:
        step = Paralinguistic("It went on and on. [Sigh] " * tags)
        items = engine.run(step, woman.clip, Context(woman.transcript))
        return sum(item == Progress("preprocessing") for item in items)

    assert 20 <= signs_of_life(20) <= 25
    assert signs_of_life(40) <= 2 * signs_of_life(20)


def test_chinese_text(engine: LiteEngine, man: Voice) -> None:
    result = run(engine, Paralinguistic("今天天气很好，[Laughter]我们去公园吧。"), man.clip, "今天天气很好")
    at, length = inserted(man.samples, result)
    assert 0.3 < at / len(man.samples) < 0.75
    assert length > 0.8 * RATE


def test_takes_differ_by_seed_only(engine: LiteEngine, woman: Voice) -> None:
    step = Paralinguistic(f"{woman.transcript} [Laughter]")
    first, again, other = (run(engine, step, woman.clip, woman.transcript, seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)
    assert len(first) == pytest.approx(len(other), rel=0.1)
