from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from editx.engines.lite.engine import LiteEngine
from editx.engines.lite.hum import without_hum
from editx.recipe import Clone, Emotion
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, median_pitch, snr_db

TEXT = "Please send me the tickets for the concert, and do not forget the two chairs in the garden."
every_voice = pytest.mark.parametrize("voice", ["woman", "man", "deep", "young"])
every_hum = pytest.mark.parametrize("hz", [50, 60, 120])


def tone(n: int, hz: float) -> NDArray:
    return np.sin(2 * np.pi * hz * np.arange(n) / RATE + 1.0)


def with_hum(x: NDArray, hz: float, db: float = -20.0) -> NDArray:
    return x + tone(len(x), hz) * np.sqrt(2) * x.std() * 10 ** (db / 20)


def without_pauses(x: NDArray) -> NDArray:
    blocks = x[: len(x) // 2400 * 2400].reshape(-1, 2400)
    return np.concatenate([block for block in blocks if block.std() > 0.03])


@every_hum
@every_voice
def test_a_clone_is_as_high_as_the_voice_and_not_as_the_hum(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str, hz: int
) -> None:
    reference: Voice = request.getfixturevalue(voice)
    result = run(engine, Clone(TEXT), clip_of(with_hum(reference.samples, hz)), reference.transcript)
    assert median_pitch(result) == pytest.approx(median_pitch(reference.samples), rel=0.06)


@every_hum
@every_voice
def test_an_emotion_moves_the_voice_and_not_the_hum(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str, hz: int
) -> None:
    source: Voice = request.getfixturevalue(voice)
    plain, hummed = (
        run(engine, Emotion("happy"), clip_of(x), source.transcript)
        for x in (source.samples, with_hum(source.samples, hz))
    )
    assert median_pitch(hummed) == pytest.approx(median_pitch(plain), rel=0.06)


@pytest.mark.parametrize("hz", [50, 59.97, 120, 100])
@pytest.mark.parametrize("db", [-30, -10])
def test_a_hum_goes_and_the_voice_at_its_frequency_stays(man: Voice, hz: float, db: float) -> None:
    """Though the man's own pitch passes through 100 and 120 Hz, and he makes no pause."""
    clean = without_pauses(man.samples)
    assert snr_db(without_hum(clean), without_hum(with_hum(clean, hz, db))) > 30


def test_the_harmonics_of_a_hum_go_too(woman: Voice) -> None:
    x = woman.samples
    hum = sum(tone(len(x), 50 * k) / k for k in range(1, 8))
    heard = x + hum / hum.std() * x.std() * 10 ** (-10 / 20)
    assert snr_db(without_hum(x), without_hum(heard)) > 20


def test_rumble_goes(deep: Voice) -> None:
    x = deep.samples
    assert snr_db(without_hum(x), without_hum(x + x.std() * tone(len(x), 20))) > 30


@every_voice
def test_a_voice_without_hum_stays(request: pytest.FixtureRequest, voice: str) -> None:
    x = request.getfixturevalue(voice).samples
    assert snr_db(x, without_hum(x)) > 30


def test_a_monotonous_voice_is_no_hum() -> None:
    chant = 0.1 * sum(tone(3 * RATE, 80 * k) / k for k in range(1, 12))
    assert snr_db(chant, without_hum(chant)) > 30


def test_a_long_recording_has_no_seams(woman: Voice) -> None:
    x = np.tile(woman.samples, 6)
    assert snr_db(without_hum(x), without_hum(with_hum(x, 60.02))) > 30
    assert snr_db(np.tile(without_hum(woman.samples), 6), without_hum(x)) > 30


@pytest.mark.parametrize("n", [0, 1, 1000, 36_000, 36_001, 16 * RATE + 1])
def test_any_length_comes_back_as_long(n: int) -> None:
    assert len(without_hum(0.1 * tone(n, 60))) == n
