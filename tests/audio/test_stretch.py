from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.stretch import Stretcher, stretch
from editx.errors import InvalidRequest
from tests.audio.sounds import main_hz, speech_like, tone

FACTORS = [0.25, 0.4, 0.5, 0.75, 0.99, 1.0, 1.25, 1.9, 2.0, 3.0, 4.0]


def pitch_hz(clip: Clip) -> float:
    """Median pitch of the voiced frames, by autocorrelation."""
    size = clip.rate // 20
    found = []
    for start in range(0, len(clip.samples) - size, size // 2):
        frame = clip.samples[start : start + size].astype(np.float64)
        if np.sqrt(np.mean(frame**2)) < 0.03:
            continue
        correlation = np.correlate(frame, frame, "full")[size - 1 :]
        low, high = clip.rate // 300, clip.rate // 70
        found.append(clip.rate / (low + int(np.argmax(correlation[low:high]))))
    return float(np.median(found))


@pytest.mark.parametrize("factor", FACTORS)
@pytest.mark.parametrize("rate", [16_000, 24_000, 48_000])
def test_a_tone_gets_another_length_and_keeps_its_pitch(factor: float, rate: int) -> None:
    clip = tone(2.0, rate, 300)
    other = stretch(clip, factor)
    assert other.rate == rate
    assert other.seconds == pytest.approx(2.0 / factor, abs=1e-3)
    assert main_hz(other) == pytest.approx(300, rel=0.01)


@pytest.mark.parametrize("factor", FACTORS)
def test_speech_gets_another_length_and_keeps_its_pitch_and_level(factor: float) -> None:
    clip = speech_like(4.0)
    other = stretch(clip, factor)
    assert other.seconds == pytest.approx(4.0 / factor, abs=1e-3)
    assert pitch_hz(other) == pytest.approx(pitch_hz(clip), rel=0.06)
    assert np.sqrt(np.mean(other.samples**2)) == pytest.approx(np.sqrt(np.mean(clip.samples**2)), rel=0.15)


@pytest.mark.parametrize("factor", [0.25, 0.8, 1.0, 1.5, 4.0])
def test_a_stream_gives_what_the_whole_gives(factor: float) -> None:
    clip = speech_like(2.0)
    whole = stretch(clip, factor)
    stretcher = Stretcher(clip.rate, factor)
    parts = [stretcher.write(Clip(clip.samples[i : i + 1111], clip.rate)) for i in range(0, len(clip.samples), 1111)]
    stream = Clip.join([*parts, stretcher.finish()])
    assert np.array_equal(stream.samples, whole.samples)


@pytest.mark.parametrize("factor", [0.25, 0.5, 0.9, 1.5, 2.0, 4.0])
@pytest.mark.parametrize("seconds", [0.1, 0.5, 1.0])
def test_a_stream_holds_little_back(factor: float, seconds: float) -> None:
    """However long the pieces are that it gets."""
    stretcher = Stretcher(24_000, factor)
    given = made = 0.0
    while given < 2.0:
        made += stretcher.write(tone(seconds)).seconds * factor
        given += seconds
        assert given - made < 0.25


def test_speed_one_changes_no_sample() -> None:
    clip = speech_like(1.0)
    assert np.array_equal(stretch(clip, 1.0).samples, clip.samples)


def test_short_and_empty_clips() -> None:
    for samples in (0, 1, 10, 500):
        for factor in (0.25, 1.0, 3.0):
            other = stretch(Clip(np.full(samples, 0.1, np.float32), 24_000), factor)
            assert len(other.samples) == round(samples / factor)


@pytest.mark.parametrize("factor", [0.0, 0.24, 4.01, -1.0, float("nan"), float("inf")])
def test_other_factors_are_refused(factor: float) -> None:
    with pytest.raises(InvalidRequest, match=r"0\.25 to 4") as caught:
        Stretcher(24_000, factor)
    assert caught.value.param == "speed"


def test_another_rate_is_refused() -> None:
    with pytest.raises(ValueError, match="24000 Hz, not 8000 Hz"):
        Stretcher(24_000, 2.0).write(tone(0.1, 8_000))
