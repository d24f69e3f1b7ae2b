from __future__ import annotations

import numpy as np
import pytest

from editx.engines.lite.engine import LiteEngine
from editx.errors import InvalidRequest
from editx.recipe import Vad
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, frames


def room(n: int, level: float) -> np.ndarray:
    return level * np.random.default_rng(5).standard_normal(n)


@pytest.mark.parametrize("voice", ["woman", "man", "deep", "young"])
@pytest.mark.parametrize("noise", [0.0, 0.0003, 0.002])
def test_inserted_silence_goes_and_speech_stays(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str, noise: float
) -> None:
    speech = request.getfixturevalue(voice).samples
    quiet = int(np.argmin((frames(speech, 1200, 120) ** 2).mean(axis=1)[200:-200]) + 200) * 120 + 600
    gap = np.zeros(int(1.5 * RATE))
    gapped = np.concatenate([gap, speech[:quiet], gap, speech[quiet:], gap])
    plain = run(engine, Vad(), clip_of(speech + room(len(speech), noise)))
    result = run(engine, Vad(), clip_of(gapped + room(len(gapped), noise)))
    left = max(len(result) - len(plain), 0)
    assert left <= 0.1 * 3 * len(gap)
    assert len(result) < len(gapped) - 0.9 * 3 * len(gap)
    # what is kept holds the speech: its energy, but for the noise that went with the silence
    assert np.square(result).sum() > 0.99 * np.square(speech).sum()


def test_speech_is_kept_sample_for_sample(engine: LiteEngine, woman: Voice) -> None:
    """Each loud stretch of the source is found in the result, unchanged."""
    gapped = np.concatenate([woman.samples, np.zeros(RATE), woman.samples]).astype(np.float32)
    result = run(engine, Vad(), clip_of(gapped))
    loud = np.flatnonzero(np.abs(woman.samples) > 0.3)
    for start in loud[:: max(len(loud) // 20, 1)]:
        piece = woman.samples[start : start + 200]
        hits = np.flatnonzero(result[: len(result) - 200] == piece[0])
        assert any(np.array_equal(result[hit : hit + 200], piece) for hit in hits)


def test_joints_do_not_click(engine: LiteEngine, woman: Voice) -> None:
    """No step from sample to sample is larger in the result than in the source, though noise is cut everywhere."""
    parts = [woman.samples[: 2 * RATE], np.zeros(RATE), woman.samples[2 * RATE : 4 * RATE], np.zeros(RATE)] * 2
    x = np.concatenate(parts)
    x = x + room(len(x), 0.003)
    result = run(engine, Vad(), clip_of(x))
    assert np.abs(np.diff(result)).max() <= np.abs(np.diff(x)).max() * 1.001


def test_short_pauses_belong_to_speech(engine: LiteEngine, woman: Voice) -> None:
    once = run(engine, Vad(), woman.clip)
    again = run(engine, Vad(), clip_of(once))
    assert len(again) == pytest.approx(len(once), rel=0.03)
    assert len(once) > 0.75 * len(woman.samples)


def test_an_offset_is_no_speech(engine: LiteEngine, woman: Voice) -> None:
    gapped = np.concatenate([woman.samples, np.zeros(2 * RATE), woman.samples])
    plain, shifted = (len(run(engine, Vad(), clip_of(0.3 * gapped + offset))) for offset in (0.0, 0.1))
    assert shifted == pytest.approx(plain, rel=0.02)


def test_silence_alone_says_so(engine: LiteEngine) -> None:
    with pytest.raises(InvalidRequest, match="no speech") as caught:
        run(engine, Vad(), clip_of(np.zeros(RATE)))
    assert caught.value.param == "audio"
