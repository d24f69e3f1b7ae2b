"""The rulers are checked before anything is measured with them."""

from __future__ import annotations

import numpy as np
import pytest

from tests.engines.lite.measure import RATE, brightness, level_db, median_pitch, pitch_range_st, snr_db, voiced_share


def harmonics(f0: np.ndarray) -> np.ndarray:
    phase = 2 * np.pi * np.cumsum(f0) / RATE
    return 0.2 * sum(np.sin(k * phase) / k for k in range(1, 12))


@pytest.mark.parametrize("f0", [80.0, 120.0, 210.0, 350.0])
def test_pitch_of_a_known_tone(f0: float) -> None:
    assert median_pitch(harmonics(np.full(RATE, f0))) == pytest.approx(f0, rel=0.01)


def test_pitch_range_of_a_known_glide() -> None:
    octave = 150.0 * 2.0 ** np.linspace(0, 1, 2 * RATE)
    assert pitch_range_st(harmonics(octave)) == pytest.approx(9.6, abs=0.5)


def test_noise_is_not_voiced() -> None:
    assert voiced_share(np.random.default_rng(0).standard_normal(RATE)) < 0.05


def test_level_ignores_pauses() -> None:
    tone = harmonics(np.full(RATE, 150.0))
    assert level_db(np.concatenate([tone, np.zeros(2 * RATE), tone])) == pytest.approx(level_db(tone), abs=0.3)


def test_brightness_rises_by_an_octave_with_an_octave() -> None:
    tones = [np.sin(2 * np.pi * f * np.arange(RATE) / RATE) for f in (1000, 2000)]
    assert brightness(tones[1]) - brightness(tones[0]) == pytest.approx(1.0, abs=0.05)


def test_snr_of_a_known_mixture() -> None:
    rng = np.random.default_rng(0)
    clean = rng.standard_normal(RATE)
    assert snr_db(clean, 0.3 * (clean + 0.1 * rng.standard_normal(RATE))) == pytest.approx(20.0, abs=0.3)
