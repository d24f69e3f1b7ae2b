from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.trim import MARGIN_SECONDS, sounding, trim_silence
from tests.audio.sounds import speech_like

RATE = 24_000


def between(before: float, clip: Clip, after: float, noise_db: float = -120.0) -> Clip:
    """`clip` after `before` and before `after` seconds of nothing but noise, which lies under all of it."""
    parts = [np.zeros(round(before * clip.rate)), clip.samples, np.zeros(round(after * clip.rate))]
    samples = np.concatenate(parts)
    samples += 10 ** (noise_db / 20) * np.random.default_rng(1).standard_normal(len(samples))
    return Clip(samples.astype(np.float32), clip.rate)


@pytest.mark.parametrize("noise_db", [-120.0, -70.0, -50.0])
@pytest.mark.parametrize("level", [1.0, 0.05])
@pytest.mark.parametrize("rate", [16_000, 48_000])
def test_silence_at_both_ends_goes_and_the_speech_stays(noise_db: float, level: float, rate: int) -> None:
    if level < 1 and noise_db > -60:
        level = 0.2  # speech that can still be told from the noise
    speech = speech_like(4.0, rate)
    trimmed = trim_silence(between(1.5, Clip(speech.samples * np.float32(level), rate), 2.5, noise_db))
    assert trimmed.seconds == pytest.approx(4.0, abs=2 * MARGIN_SECONDS + 0.05)
    assert trimmed.rate == rate
    energy = float(np.sum((level * speech.samples) ** 2))
    assert float(np.sum(trimmed.samples**2)) > 0.98 * energy


def test_speech_to_the_ends_is_left_alone(speech: tuple[Clip, str]) -> None:
    assert trim_silence(speech_like(3.0)).seconds > 2.8
    (clip, _) = speech
    start, stop = sounding(clip)
    middle = Clip(clip.samples[start:stop].copy(), clip.rate)
    assert trim_silence(middle) is middle


def test_pauses_inside_stay() -> None:
    twice = Clip.join([speech_like(2.0), Clip(np.zeros(2 * RATE, np.float32), RATE), speech_like(2.0)])
    assert trim_silence(between(1.0, twice, 1.0)).seconds == pytest.approx(6.0, abs=0.4)


def test_a_click_is_no_speech() -> None:
    clip = between(2.0, speech_like(3.0), 2.0, -70.0)
    clip.samples[round(0.3 * RATE)] = 0.9
    clip.samples[-round(0.3 * RATE) :][:40] = 0.5
    assert trim_silence(clip).seconds == pytest.approx(3.0, abs=2 * MARGIN_SECONDS + 0.05)


def test_an_offset_is_no_sound() -> None:
    clip = between(1.0, speech_like(3.0), 1.0)
    shifted = Clip((clip.samples + 0.1).astype(np.float32), clip.rate)
    assert trim_silence(shifted).seconds == pytest.approx(3.0, abs=2 * MARGIN_SECONDS + 0.05)


@pytest.mark.parametrize("samples", [0, 1, 100, RATE])
def test_where_nothing_stands_out_nothing_is_cut(samples: int) -> None:
    silent = Clip(np.zeros(samples, np.float32), RATE)
    assert len(trim_silence(silent).samples) == samples


def test_what_was_trimmed_needs_no_more() -> None:
    once = trim_silence(between(2.0, speech_like(3.0), 2.0, -60.0))
    assert trim_silence(once).seconds == pytest.approx(once.seconds, abs=0.1)
