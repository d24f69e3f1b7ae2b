from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.resample import Resampler, resample
from tests.audio.sounds import main_hz, snr_db, speech_like, tone


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000, 96_000])
def test_a_tone_keeps_its_frequency_level_and_length(rate: int) -> None:
    clip = tone(1.0, 24_000, 440)
    other = resample(clip, rate)
    assert other.rate == rate
    assert other.samples.dtype == np.float32
    assert other.seconds == pytest.approx(1.0, abs=2 / rate)
    assert main_hz(other) == pytest.approx(440, abs=0.5)
    middle = other.samples[rate // 4 : -rate // 4]
    assert np.sqrt(np.mean(middle**2)) == pytest.approx(0.5 / np.sqrt(2), rel=0.005)


def test_there_and_back_again_changes_nothing_below_the_lower_limit() -> None:
    clip = tone(1.0, 24_000, 1000)
    back = resample(resample(clip, 44_100), 24_000)
    assert snr_db(clip.samples[2400:-2400], back.samples[2400:-2400], 10) > 80


def test_what_would_fold_back_is_removed() -> None:
    clip = resample(tone(1.0, 48_000, 7_000), 8_000)
    assert np.abs(clip.samples[400:-400]).max() < 1e-3


def test_the_same_rate_is_the_same_clip() -> None:
    clip = tone(0.1)
    assert resample(clip, clip.rate) is clip


def test_nothing_stays_nothing() -> None:
    assert resample(Clip(np.zeros(0, np.float32), 8_000), 16_000).seconds == 0


@pytest.mark.parametrize("chunk", [1, 97, 2400, 100_000])
def test_a_stream_gives_what_the_whole_gives(chunk: int) -> None:
    clip = speech_like(0.5, 16_000)
    stream = Resampler(16_000, 24_000)
    parts = [stream.write(clip.samples[i : i + chunk]) for i in range(0, len(clip.samples), chunk)]
    samples = np.concatenate([*parts, stream.finish()])
    whole = resample(clip, 24_000).samples
    assert abs(len(samples) - len(whole)) <= 1
    n = min(len(samples), len(whole))
    assert np.allclose(samples[:n], whole[:n], atol=1e-5)


def test_a_stream_of_one_rate_passes_through() -> None:
    samples = tone(0.1).samples
    stream = Resampler(24_000, 24_000)
    assert stream.write(samples) is samples
    assert len(stream.finish()) == 0
