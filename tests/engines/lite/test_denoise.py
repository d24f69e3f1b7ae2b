from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from editx.engines.lite.engine import LiteEngine
from editx.recipe import Denoise
from tests.engines.lite.helpers import Voice, clip_of, run
from tests.engines.lite.measure import RATE, level_db, snr_db


def white(n: int) -> NDArray:
    return np.random.default_rng(3).standard_normal(n)


def pink(n: int) -> NDArray:
    spectrum = np.fft.rfft(white(n))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum)))
    spectrum[0] = 0
    noise = np.fft.irfft(spectrum, n)
    return noise / noise.std()


def hum(n: int) -> NDArray:
    t = np.arange(n) / RATE
    noise = sum(np.sin(2 * np.pi * 50 * k * t + k) / k for k in range(1, 8))
    return noise / noise.std()


def crowd(n: int) -> NDArray:
    """Noise with the long-term spectrum of many voices."""
    shape = np.exp(-((np.log2(np.maximum(np.fft.rfftfreq(n, 1 / RATE), 20) / 500) / 1.6) ** 2))
    noise = np.fft.irfft(np.fft.rfft(white(n)) * shape, n)
    return noise / noise.std()


def with_noise(x: NDArray, noise: NDArray, snr: float) -> NDArray:
    mixed = x + noise * x.std() * 10 ** (-snr / 20)
    return mixed * (0.9 / np.abs(mixed).max())


@pytest.mark.parametrize("voice", ["woman", "man", "deep", "young"])
@pytest.mark.parametrize("snr", [0, 5, 10])
@pytest.mark.parametrize("noise", [white, pink, hum])
def test_steady_noise_falls_by_at_least_6_db(
    engine: LiteEngine, request: pytest.FixtureRequest, voice: str, noise, snr: int
) -> None:
    clean = request.getfixturevalue(voice).samples
    heard = with_noise(clean, noise(len(clean)), snr)
    result = run(engine, Denoise(), clip_of(heard))
    assert len(result) == len(clean)
    assert snr_db(clean, result) - snr_db(clean, heard) >= 6.0


def test_noise_shaped_like_speech_falls_in_the_pauses_and_the_speech_stays(engine: LiteEngine, woman: Voice) -> None:
    """Where noise and voice share every frequency a gain cannot part them; between the words it still does."""
    clean = np.concatenate([np.zeros(RATE), woman.samples, np.zeros(RATE)])
    heard = with_noise(clean, crowd(len(clean)), 5)
    result = run(engine, Denoise(), clip_of(heard))
    pause = slice(RATE // 4, RATE * 3 // 4)
    assert 20 * np.log10(heard[pause].std() / result[pause].std()) > 12
    assert snr_db(clean, result) - snr_db(clean, heard) > 2.0
    assert level_db(result) == pytest.approx(level_db(heard), abs=2.0)


@pytest.mark.parametrize("voice", ["woman", "man", "deep", "young"])
def test_clean_speech_stays(engine: LiteEngine, request: pytest.FixtureRequest, voice: str) -> None:
    clean = request.getfixturevalue(voice).samples
    assert snr_db(clean, run(engine, Denoise(), clip_of(clean))) > 20


def test_speech_without_a_pause_stays(engine: LiteEngine, woman: Voice) -> None:
    blocks = woman.samples[: len(woman.samples) // 2400 * 2400].reshape(-1, 2400)
    dense = np.concatenate([block for block in blocks if block.std() > 0.03])
    assert snr_db(dense, run(engine, Denoise(), clip_of(dense))) > 15


def test_nearly_clean_speech_stays(engine: LiteEngine, man: Voice) -> None:
    heard = man.samples + 0.002 * white(len(man.samples))
    assert snr_db(man.samples, run(engine, Denoise(), clip_of(heard))) > 18


@pytest.mark.parametrize("n", [1, 100, 1023, 1025, 30_000])
def test_any_length_comes_back_as_long(engine: LiteEngine, n: int) -> None:
    assert len(run(engine, Denoise(), clip_of(0.1 * white(n)))) == n


def test_silence_stays_silent(engine: LiteEngine) -> None:
    assert not run(engine, Denoise(), clip_of(np.zeros(RATE))).any()
