from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Memory, Progress
from editx.engines.lite.engine import LiteEngine, open_engine
from editx.errors import Cancelled, InvalidRequest
from editx.recipe import Clone, Denoise, Emotion, Paralinguistic, Speed, Step, Style, Vad
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, level_db, median_pitch

TEXT = "The ship left the harbour at noon, and nobody on board knew where it was going. "
ALL_KINDS: list[Step] = [
    Clone(TEXT),
    Emotion("angry"),
    Style("older"),
    Speed("faster"),
    Paralinguistic("The morning light [Laughter] came slowly."),
    Denoise(),
    Vad(),
]
by_kind = pytest.mark.parametrize("step", ALL_KINDS, ids=lambda step: step.kind)


@pytest.fixture(scope="module")
def woman(woman: Voice) -> Voice:
    """Her first words: enough for several segments when repeated."""
    return Voice(woman.samples[: int(2.9 * RATE)], "The morning light came slowly over the hills")


def test_opening_reports_progress_and_needs_no_gpu() -> None:
    seen: list[Progress] = []
    engine = open_engine("lite", {"anything": 1}, seen.append)
    assert seen[-1] == Progress("loading", 1.0)
    assert engine.sample_rate == RATE
    assert engine.memory() == Memory()
    engine.close()


@by_kind
def test_progress_rises_and_chunks_are_short(engine: LiteEngine, woman: Voice, step: Step) -> None:
    clip = clip_of(np.tile(woman.samples, 2))
    items = list(engine.run(step, clip, Context(transcript=woman.transcript)))
    assert {item.stage for item in items if isinstance(item, Progress)} <= {"preprocessing", "generation", "decoding"}
    fractions = [item.fraction for item in items if isinstance(item, Progress) and item.fraction is not None]
    assert fractions == sorted(fractions)
    assert fractions[0] == 0.0
    assert fractions[-1] == 1.0
    seconds = [item.seconds for item in items if isinstance(item, Progress)]
    assert seconds == sorted(seconds)
    chunks = [item for item in items if isinstance(item, Clip)]
    assert seconds[-1] == pytest.approx(sum(chunk.seconds for chunk in chunks))
    assert all(0 < len(chunk.samples) <= RATE for chunk in chunks)


@pytest.mark.parametrize("step", [Clone(TEXT * 8), Emotion("happy"), Denoise()], ids=lambda step: step.kind)
def test_the_first_chunk_comes_long_before_the_end(engine: LiteEngine, woman: Voice, step: Step) -> None:
    """When the first sound is out, most of the work has not been done."""
    clip = clip_of(np.tile(woman.samples, 5))
    told = 0.0
    for item in engine.run(step, clip, Context(transcript=woman.transcript)):
        if isinstance(item, Clip):
            break
        told = item.fraction or told
    assert told < 0.3


@by_kind
def test_same_seed_same_samples(engine: LiteEngine, woman: Voice, step: Step) -> None:
    first = run(engine, step, woman.clip, woman.transcript, seed=7)
    run(engine, Clone("something else in between"), woman.clip, woman.transcript, seed=1)
    assert np.array_equal(first, run(engine, step, woman.clip, woman.transcript, seed=7))


@pytest.mark.parametrize("step", [ALL_KINDS[0], ALL_KINDS[1], ALL_KINDS[4]], ids=lambda step: step.kind)
def test_another_seed_is_another_take_of_the_same(engine: LiteEngine, woman: Voice, step: Step) -> None:
    takes = [run(engine, step, woman.clip, woman.transcript, seed) for seed in (1, 2**63 - 1)]
    n = min(map(len, takes))
    assert not np.array_equal(takes[0][:n], takes[1][:n])
    assert median_pitch(takes[0]) == pytest.approx(median_pitch(takes[1]), rel=0.03)
    assert level_db(takes[0]) == pytest.approx(level_db(takes[1]), abs=0.5)


@by_kind
def test_cancelled_before_the_start(engine: LiteEngine, woman: Voice, step: Step) -> None:
    cancellation = Cancellation()
    cancellation.cancel("changed my mind")
    with pytest.raises(Cancelled, match="changed my mind"):
        list(engine.run(step, woman.clip, Context(woman.transcript, cancellation=cancellation)))


@by_kind
def test_cancelled_on_the_way_gives_no_more_sound(engine: LiteEngine, woman: Voice, step: Step) -> None:
    cancellation = Cancellation()
    items = engine.run(step, clip_of(np.tile(woman.samples, 3)), Context(woman.transcript, cancellation=cancellation))
    next(item for item in items if isinstance(item, Clip))
    cancellation.cancel()
    rest = []
    with pytest.raises(Cancelled):
        rest.extend(items)
    assert not [item for item in rest if isinstance(item, Clip)]


def test_cancelled_while_listening(engine: LiteEngine, woman: Voice) -> None:
    cancellation = Cancellation()
    items = engine.run(Style("warm"), clip_of(np.tile(woman.samples, 5)), Context("x", cancellation=cancellation))
    assert next(items).stage == "preprocessing"
    assert next(items).stage == "preprocessing"
    cancellation.cancel()
    with pytest.raises(Cancelled):
        next(items)


def test_a_voice_heard_before_is_remembered_and_sounds_the_same(woman: Voice) -> None:
    reference = clip_of(np.tile(woman.samples, 3))
    fresh, keeping = LiteEngine(remembered=0), LiteEngine(remembered=1)
    expected = run(fresh, Clone("Once more."), reference, woman.transcript)

    def listening(engine: LiteEngine, clip: Clip) -> int:
        items = engine.run(Clone("Once more."), clip, Context(woman.transcript))
        return sum(isinstance(item, Progress) and item.stage == "preprocessing" for item in items)

    first = listening(keeping, reference)
    assert listening(keeping, reference) < first
    assert np.array_equal(run(keeping, Clone("Once more."), reference, woman.transcript), expected)
    listening(keeping, woman.clip)
    assert listening(keeping, reference) == first, "one is remembered, and that is another one now"
    assert listening(fresh, reference) == first


def test_runs_at_once_do_not_disturb_each_other(engine: LiteEngine, woman: Voice) -> None:
    alone = [run(engine, step, woman.clip, woman.transcript, seed=3) for step in ALL_KINDS]
    together: list[NDArray | None] = [None] * len(ALL_KINDS)

    def work(i: int) -> None:
        together[i] = run(engine, ALL_KINDS[i], woman.clip, woman.transcript, seed=3)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(ALL_KINDS))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for expected, result in zip(alone, together, strict=True):
        assert result is not None
        assert np.array_equal(expected, result)


@by_kind
def test_empty_clip_says_so(engine: LiteEngine, step: Step) -> None:
    with pytest.raises(InvalidRequest, match="empty") as caught:
        list(engine.run(step, clip_of(np.zeros(0)), Context("x")))
    assert caught.value.param == "audio"


@pytest.mark.parametrize("step", [Emotion("happy"), Style("whisper"), Speed("slower"), Denoise()])
def test_silence_comes_back_unchanged(engine: LiteEngine, step: Step) -> None:
    assert np.array_equal(run(engine, step, clip_of(np.zeros(RATE)), "x"), np.zeros(RATE, dtype=np.float32))


def nan_and_inf(x: NDArray) -> NDArray:
    x = x.copy()
    x[::997], x[1::997], x[2::997] = np.nan, np.inf, -np.inf
    return x


HOSTILE: dict[str, Callable[[NDArray], NDArray]] = {
    "one sample": lambda x: np.array([0.5]),
    "five ms": lambda x: x[30_000:30_120],
    "sixty ms": lambda x: x[30_000:31_440],
    "nan and inf": nan_and_inf,
    "far over full scale": lambda x: x * 50,
    "square wave": lambda x: np.sign(np.sin(np.arange(RATE) / 40)),
    "white noise": lambda x: np.random.default_rng(0).standard_normal(RATE) * 0.3,
    "a constant": lambda x: np.full(RATE, 0.7),
    "one click": lambda x: np.eye(1, RATE, RATE // 2)[0],
    "nearly silent": lambda x: x * 1e-4,
    "shrill": lambda x: 0.9 * np.sin(np.arange(RATE) * 2.5),
}


@pytest.mark.parametrize("damage", HOSTILE.values(), ids=HOSTILE.keys())
@by_kind
def test_hostile_sound_ends_as_sound_or_as_a_clear_error(
    engine: LiteEngine, woman: Voice, step: Step, damage: Callable[[NDArray], NDArray]
) -> None:
    clip = clip_of(damage(woman.samples))
    try:
        result = run(engine, step, clip, "hello")
    except InvalidRequest as caught:
        error = caught
    else:
        assert len(result) < 20 * RATE
        return
    assert error.param == "audio"
    assert isinstance(step, (Clone, Vad))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 96000])
def test_edits_take_any_sample_rate(engine: LiteEngine, rate: int) -> None:
    t = np.arange(2 * rate) / rate
    tone = 0.2 * sum(np.sin(2 * np.pi * 150 * k * t) / k for k in range(1, 8))
    result = run(engine, Speed("faster"), clip_of(tone, rate), "x")
    assert len(result) / RATE == pytest.approx(2 / 1.2, rel=0.02)
    assert median_pitch(result) == pytest.approx(150, rel=0.02)
