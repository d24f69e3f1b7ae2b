from __future__ import annotations

import numpy as np
import pytest
import soxr
from numpy.typing import NDArray

from editx.audio.clip import Clip
from editx.engines.base import Context, Progress
from editx.engines.lite.engine import LiteEngine
from editx.engines.lite.options import Change
from editx.engines.lite.plan import plan_change
from editx.engines.lite.profile import formant_factor, profile
from editx.engines.lite.render import render
from editx.engines.lite.world import pitch
from editx.errors import InvalidRequest
from editx.recipe import Clone
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, brightness, level_db, median_pitch, pitch_range_st, voiced_share

TEXTS = {
    "english": "Please send me the tickets for the concert, and do not forget the two chairs in the garden.",
    "mandarin": "明天早上八点，我们在火车站门口见面，请不要迟到。",
    "cantonese": "[Cantonese]今日天氣好好，我哋一齊去公園行下啦。",
    "japanese": "明日は友達と一緒に映画を見に行きます。",
    "korean": "내일 아침에 친구와 함께 바다에 갈 거예요.",
    "mixed": "我们用 Python 写了一个 small program，很有意思。",
}


@pytest.mark.parametrize("voice", ["woman", "man", "deep", "young"])
@pytest.mark.parametrize("language", ["english", "mandarin"])
def test_clone_has_the_pitch_and_level_of_the_reference(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str, language: str
) -> None:
    reference: Voice = request.getfixturevalue(voice)
    result = run(engine, Clone(TEXTS[language]), reference.clip, reference.transcript)
    assert median_pitch(result) == pytest.approx(median_pitch(reference.samples), rel=0.06)
    assert level_db(result) == pytest.approx(level_db(reference.samples), abs=2.0)
    assert 2.0 < len(result) / RATE < 9.0


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_every_language_is_spoken(engine: LiteEngine, man: Voice, text: str) -> None:
    result = run(engine, Clone(text), man.clip, man.transcript)
    assert 1.5 < len(result) / RATE < 8.0
    assert voiced_share(result) > 0.4
    assert median_pitch(result) == pytest.approx(median_pitch(man.samples), rel=0.06)


def test_bright_and_dark_references_give_bright_and_dark_clones(engine: LiteEngine, deep: Voice, young: Voice) -> None:
    dark, bright = (run(engine, Clone(TEXTS["english"]), v.clip, v.transcript) for v in (deep, young))
    assert brightness(bright) - brightness(dark) > 0.5 * (brightness(young.samples) - brightness(deep.samples)) > 0.1


def test_quiet_reference_gives_a_quiet_clone(engine: LiteEngine, man: Voice) -> None:
    quiet = man.samples * 0.1
    result = run(engine, Clone(TEXTS["english"]), clip_of(quiet), man.transcript)
    assert level_db(result) == pytest.approx(level_db(quiet), abs=2.0)


@pytest.mark.parametrize("voice", ["woman", "deep"])
def test_compressed_reference_gives_a_loud_clone(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str
) -> None:
    reference: Voice = request.getfixturevalue(voice)
    loud = np.tanh(4 * reference.samples)
    result = run(engine, Clone(TEXTS["english"]), clip_of(loud), reference.transcript)
    assert level_db(result) == pytest.approx(level_db(loud), abs=2.0)


def test_an_offset_of_the_reference_is_not_heard(engine: LiteEngine, man: Voice) -> None:
    plain, shifted = (
        run(engine, Clone(TEXTS["english"]), clip_of(0.3 * man.samples + offset), man.transcript)
        for offset in (0.0, 0.1)
    )
    assert level_db(shifted) == pytest.approx(level_db(plain), abs=0.5)
    assert len(shifted) == pytest.approx(len(plain), rel=0.03)


def test_lively_reference_gives_a_livelier_clone(engine: LiteEngine, woman: Voice) -> None:
    f0 = pitch(woman.samples)
    ranges = []
    for factor in (0.6, 1.6):
        plan = plan_change(woman.samples, f0, Change(range=factor), np.random.default_rng(0))
        reference = np.concatenate([piece for piece, _ in render(woman.samples, plan)])
        ranges.append(pitch_range_st(run(engine, Clone(TEXTS["english"]), clip_of(reference), woman.transcript)))
    assert ranges[1] > 1.5 * ranges[0]


def test_tempo_follows_the_reference(engine: LiteEngine, woman: Voice) -> None:
    """A reference that is stretched to 1.3 times its length makes a slower speaker."""
    f0 = pitch(woman.samples)
    lengths = []
    for tempo in (1 / 1.3, 1.3):
        plan = plan_change(woman.samples, f0, Change(tempo=tempo), np.random.default_rng(0))
        reference = np.concatenate([piece for piece, _ in render(woman.samples, plan)])
        lengths.append(len(run(engine, Clone(TEXTS["english"]), clip_of(reference), woman.transcript)))
    assert 1.25 < lengths[0] / lengths[1] < 2.1


def test_words_with_twice_the_length_take_about_twice_as_long(engine: LiteEngine, woman: Voice) -> None:
    once, twice = (
        len(run(engine, Clone(text), woman.clip, woman.transcript)) for text in (TEXTS["english"], TEXTS["english"] * 2)
    )
    assert 1.8 < twice / once < 2.3


def test_formant_factor_finds_a_known_warp(woman: Voice) -> None:
    f0 = pitch(woman.samples)
    plain = profile(woman.samples, f0)
    for factor in (0.9, 1.1):
        plan = plan_change(woman.samples, f0, Change(formant=factor), np.random.default_rng(0))
        moved = np.concatenate([piece for piece, _ in render(woman.samples, plan)])
        assert formant_factor(plain, profile(moved, pitch(moved))) == pytest.approx(factor, abs=0.03)


@pytest.mark.parametrize("rate", [8000, 16000, 44100, 48000])
def test_any_sample_rate(engine: LiteEngine, man: Voice, rate: int) -> None:
    reference = soxr.resample(man.samples, RATE, rate)
    result = run(engine, Clone(TEXTS["english"]), clip_of(reference, rate), man.transcript)
    assert median_pitch(result) == pytest.approx(median_pitch(man.samples), rel=0.06)
    assert level_db(result) == pytest.approx(level_db(man.samples), abs=2.0)


def noisy(x: NDArray) -> NDArray:
    return x + 0.2 * x.std() * np.random.default_rng(0).standard_normal(len(x))


@pytest.mark.parametrize(
    "damage",
    [noisy, lambda x: np.clip(x * 8, -0.9, 0.9), lambda x: x[RATE : RATE + 2 * RATE], lambda x: np.tile(x, 12)],
    ids=["noisy", "clipped", "two-seconds", "long"],
)
def test_difficult_references(engine: LiteEngine, man: Voice, damage) -> None:
    reference = damage(man.samples)
    result = run(engine, Clone(TEXTS["english"]), clip_of(reference), man.transcript)
    assert median_pitch(result) == pytest.approx(median_pitch(man.samples), rel=0.08)
    assert 2.0 < len(result) / RATE < 12.0


def test_reference_without_pitch_keeps_espeaks(engine: LiteEngine) -> None:
    noise = 0.1 * np.random.default_rng(0).standard_normal(2 * RATE)
    result = run(engine, Clone(TEXTS["english"]), clip_of(noise), "shh")
    assert voiced_share(result) > 0.4
    assert 60 < median_pitch(result) < 140


def test_reference_of_a_tenth_of_a_second(engine: LiteEngine, man: Voice) -> None:
    loud = int(np.argmax(np.abs(man.samples)))
    result = run(engine, Clone("Hello there."), clip_of(man.samples[loud - 1200 : loud + 1200]), "a")
    assert 0.4 < len(result) / RATE < 3.0


@pytest.mark.parametrize("text", ["!!!", "[Laughter]", "...", "🙂"])
def test_text_without_words_says_so(engine: LiteEngine, man: Voice, text: str) -> None:
    with pytest.raises(InvalidRequest, match="nothing in the text can be spoken") as caught:
        run(engine, Clone(text), man.clip, man.transcript)
    assert caught.value.param == "text"


@pytest.mark.parametrize("seconds", [0.01, 2.0])
def test_silent_or_tiny_reference_says_so(engine: LiteEngine, seconds: float) -> None:
    with pytest.raises(InvalidRequest, match="reference recording is") as caught:
        run(engine, Clone("hello"), clip_of(np.zeros(int(seconds * RATE))), "hello")
    assert caught.value.param == "audio"


def test_tags_are_not_read_out_and_other_brackets_are(engine: LiteEngine, man: Voice) -> None:
    plain, tagged, unknown = (
        len(run(engine, Clone(f"Well then, {tag} let us begin."), man.clip, man.transcript))
        for tag in ("", "[Laughter]", "[some new word]")
    )
    assert tagged == pytest.approx(plain, rel=0.12)
    assert unknown > 1.3 * plain


def test_a_tag_nobody_knows_is_warned_about(engine: LiteEngine, man: Voice, caplog: pytest.LogCaptureFixture) -> None:
    run(engine, Clone("Well then, [laughter] let us [yodel]."), man.clip, man.transcript)
    assert [record.getMessage().split()[0] for record in caplog.records] == ["[yodel]"]


def test_of_a_long_transcript_the_beginning_is_enough(engine: LiteEngine, man: Voice) -> None:
    """What is said for it depends on the recording, not on what somebody pastes beside it."""

    def signs_of_life(transcript: str) -> int:
        items = engine.run(Clone("Hello there."), man.clip, Context(transcript))
        return sum(item == Progress("preprocessing") for item in items)

    assert signs_of_life(man.transcript) > 0
    assert signs_of_life("So it went on and on. " * 20_000) <= signs_of_life(man.transcript) + 3


def test_a_transcript_said_in_part_tells_the_same_tempo(engine: LiteEngine, woman: Voice) -> None:
    text = TEXTS["english"]
    long = clip_of(np.tile(woman.samples, 8))
    whole = run(engine, Clone(text), woman.clip, woman.transcript)
    part = run(engine, Clone(text), long, " ".join([woman.transcript] * 8))
    assert len(part) == pytest.approx(len(whole), rel=0.08)


def test_a_long_text_gives_a_sign_of_life_for_every_stretch(engine: LiteEngine, man: Voice) -> None:
    items = engine.run(Clone("All of it is told in the same breath, " * 50), man.clip, Context(man.transcript))
    signs = 0
    for item in items:
        if isinstance(item, Clip):
            break
        signs += item == Progress("preprocessing")
    assert signs >= 6
