"""Every option there is has a row, and its sound goes where the row says."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from editx import recipe
from editx.engines.lite.engine import LiteEngine
from editx.engines.lite.options import EMOTIONS, SPEEDS, STYLES, Change, change_for
from editx.recipe import Emotion, Speed, Step, Style
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, brightness, level_db, median_pitch, pitch_range_st, voiced_share

STEPS: list[Step] = [
    *(Emotion(name) for name in recipe.EMOTIONS),
    *(Style(name) for name in recipe.STYLES),
    *(Speed(name) for name in recipe.SPEEDS),
]


@pytest.fixture(scope="module")
def source(woman: Voice) -> NDArray:
    return woman.samples[: int(2.9 * RATE)]


@pytest.fixture(scope="module")
def before(source: NDArray) -> dict[str, float]:
    return features(source)


def features(x: NDArray) -> dict[str, float]:
    return {
        "pitch": median_pitch(x),
        "range": pitch_range_st(x),
        "level": level_db(x),
        "brightness": brightness(x),
        "voiced": voiced_share(x),
        "seconds": len(x) / RATE,
    }


def test_the_tables_have_exactly_the_options_of_the_recipe() -> None:
    assert set(EMOTIONS) == set(recipe.EMOTIONS)
    assert set(STYLES) == set(recipe.STYLES)
    assert set(SPEEDS) == set(recipe.SPEEDS)


def test_no_two_emotions_or_styles_are_the_same_and_none_is_nothing() -> None:
    for table in (EMOTIONS, STYLES, SPEEDS):
        assert len(set(table.values())) == len(table)
        assert Change() not in table.values()


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.kind}-{step.option}")
def test_option_sounds_as_its_row_says(
    engine: LiteEngine, source: NDArray, before: dict[str, float], step: Step
) -> None:
    row = change_for(step)
    x = run(engine, step, clip_of(source), transcript="the morning light came slowly over the hills")
    after = features(x)

    if row.voicing == 0.0:
        assert after["voiced"] < 0.05
        assert before["voiced"] > 0.6
    elif row.rough_st < 1.0:
        moved = 12 * np.log2(after["pitch"] / before["pitch"])
        # bent endings pull the median of a short phrase along
        assert moved == pytest.approx(row.pitch_st, abs=0.6 + 0.3 * abs(row.ending_st))
        if abs(row.range - 1) >= 0.2 and row.rough_st == 0 and abs(row.ending_st) <= 2:
            assert (after["range"] > 1.05 * before["range"]) == (row.range > 1)
            assert (after["range"] < 0.95 * before["range"]) == (row.range < 1)

    # a loud option may be held back by the limiter, never turned round
    assert after["level"] - before["level"] == pytest.approx(row.energy_db, abs=1.5 + 0.2 * max(row.energy_db, 0))

    if row.pause == 1:
        assert before["seconds"] / after["seconds"] == pytest.approx(row.tempo, rel=0.02)
    elif row.tempo >= 1 and row.pause < 1:
        assert after["seconds"] < before["seconds"] / row.tempo
    elif row.tempo <= 1 and row.pause > 1:
        assert after["seconds"] > before["seconds"] / row.tempo

    colour = row.tilt_db + 20 * (row.formant - 1)
    if abs(colour) >= 0.8 and row.tilt_db * (row.formant - 1) >= 0 and row.voicing:
        assert np.sign(after["brightness"] - before["brightness"]) == np.sign(colour)


@pytest.mark.parametrize("step", [Emotion("happy"), Emotion("sad"), Style("child"), Style("deeply")])
def test_a_man_changes_as_a_woman_does(engine: LiteEngine, man: Voice, step: Step) -> None:
    row = change_for(step)
    moved = median_pitch(run(engine, step, man.clip, man.transcript)) / median_pitch(man.samples)
    assert 12 * np.log2(moved) == pytest.approx(row.pitch_st, abs=0.8)


def test_repeating_an_option_goes_further(engine: LiteEngine, woman: Voice) -> None:
    once = run(engine, Emotion("happy"), woman.clip, woman.transcript)
    twice = run(engine, Emotion("happy"), clip_of(once), woman.transcript)
    assert median_pitch(twice) > 1.08 * median_pitch(once) > 1.16 * median_pitch(woman.samples)


def test_faster_and_slower_undo_each_other(engine: LiteEngine, woman: Voice) -> None:
    there = run(engine, Speed("faster"), woman.clip, woman.transcript)
    back = run(engine, Speed("slower"), clip_of(there), woman.transcript)
    assert len(back) == pytest.approx(len(woman.samples), rel=0.01)
