"""Each kind of change on its own does what it says, measured on the sound that comes out."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from numpy.typing import NDArray

from editx.engines.lite import world
from editx.engines.lite.options import Change
from editx.engines.lite.plan import plan_change
from editx.engines.lite.render import render, segments
from tests.engines.lite.helpers import Voice
from tests.engines.lite.measure import (
    RATE,
    brightness,
    frames,
    level_db,
    long_term_spectrum,
    median_pitch,
    pitch_range_st,
    pitch_track,
    voiced_share,
)


@pytest.fixture(scope="module")
def woman(woman: Voice) -> Voice:
    """Her first sentence, with the pause after it."""
    return Voice(woman.samples[: int(4.4 * RATE)], woman.transcript)


def changed(voice: Voice, **fields: float) -> NDArray:
    x = voice.samples
    plan = plan_change(x, world.pitch(x), Change(**fields), np.random.default_rng(1))
    return np.concatenate([piece for piece, _ in render(x, plan)])


@pytest.fixture(scope="module")
def same(woman: Voice) -> NDArray:
    """Taken apart and put together without a change: what every other result is compared with."""
    return changed(woman)


def loudness_spread_db(x: NDArray) -> float:
    level = 10 * np.log10((frames(x, 4800, 480) ** 2).mean(axis=1) + 1e-9)
    level = level[level > level.max() - 30]
    return float(np.percentile(level, 90) - np.percentile(level, 10))


def noise_share(x: NDArray) -> float:
    """How little of 1.5 to 6 kHz repeats after one period, over the voiced frames: 0 for a buzz, 1 for noise."""
    track = pitch_track(x)
    windows = frames(x, 1200, 240)[: len(track)]
    shares = []
    for window, f0 in zip(windows, track, strict=False):
        if f0 > 0:
            spectrum = np.abs(np.fft.rfft(window * np.hanning(1200), 8192)) ** 2
            frequency = np.fft.rfftfreq(8192, 1 / RATE)
            spectrum[(frequency < 1500) | (frequency > 6000)] = 0
            correlation = np.fft.irfft(spectrum)
            lag = round(RATE / f0)
            shares.append(1 - correlation[lag - 6 : lag + 7].max() / correlation[0])
    return float(np.mean(shares))


def test_no_change_keeps_the_voice(woman: Voice, same: NDArray) -> None:
    assert median_pitch(same) == pytest.approx(median_pitch(woman.samples), rel=0.01)
    assert level_db(same) == pytest.approx(level_db(woman.samples), abs=0.3)
    assert brightness(same) == pytest.approx(brightness(woman.samples), abs=0.06)
    assert abs(len(same) - len(woman.samples)) <= 240


@pytest.mark.parametrize("semitones", [-5, -2, 3, 6])
def test_pitch_moves_by_semitones(woman: Voice, same: NDArray, semitones: int) -> None:
    moved = 12 * np.log2(median_pitch(changed(woman, pitch_st=semitones)) / median_pitch(same))
    assert moved == pytest.approx(semitones, abs=0.4)


@pytest.mark.parametrize("factor", [0.5, 1.6])
def test_range_scales(woman: Voice, same: NDArray, factor: float) -> None:
    result = changed(woman, range=factor)
    assert pitch_range_st(result) / pitch_range_st(same) == pytest.approx(factor, rel=0.25)
    assert median_pitch(result) == pytest.approx(median_pitch(same), rel=0.03)


@pytest.mark.parametrize("tempo", [0.6, 0.8, 1.25, 1.8])
def test_tempo_changes_length_and_not_pitch(woman: Voice, same: NDArray, tempo: float) -> None:
    result = changed(woman, tempo=tempo)
    assert len(same) / len(result) == pytest.approx(tempo, rel=0.01)
    assert median_pitch(result) == pytest.approx(median_pitch(same), rel=0.02)
    assert level_db(result) == pytest.approx(level_db(same), abs=1.0)


def test_pause_changes_only_the_pauses(woman: Voice, same: NDArray) -> None:
    longer, shorter = changed(woman, pause=2.0), changed(woman, pause=0.5)
    assert len(shorter) < len(same) < len(longer)
    assert voiced_share(longer) == pytest.approx(voiced_share(same), abs=0.05)


@pytest.mark.parametrize("factor", [0.85, 1.15])
def test_formants_move_on_the_frequency_axis(woman: Voice, same: NDArray, factor: float) -> None:
    """The long-term spectrum agrees best with the original's when that is stretched by the factor."""
    result = changed(woman, formant=factor)
    frequency, _ = long_term_spectrum(same)
    grid = np.exp(np.linspace(np.log(300), np.log(5000), 200))

    def shape(x: NDArray, warp: float) -> NDArray:
        smooth = np.convolve(np.log(long_term_spectrum(x)[1] + 1e-12), np.full(11, 1 / 11), mode="same")
        return np.interp(grid / warp, frequency, smooth)

    goal = shape(result, 1.0)
    warps = np.linspace(0.75, 1.3, 56)
    best = warps[int(np.argmax([np.corrcoef(shape(same, warp), goal)[0, 1] for warp in warps]))]
    assert best == pytest.approx(factor, abs=0.04)
    assert median_pitch(result) == pytest.approx(median_pitch(same), rel=0.01)


def test_energy_is_decibels(woman: Voice, same: NDArray) -> None:
    assert level_db(changed(woman, energy_db=-8)) - level_db(same) == pytest.approx(-8, abs=0.3)
    assert level_db(changed(woman, energy_db=2)) - level_db(same) == pytest.approx(2, abs=0.3)


def test_tilt_brightens_and_darkens(woman: Voice, same: NDArray) -> None:
    bright, dark = changed(woman, tilt_db=3), changed(woman, tilt_db=-3)
    assert brightness(dark) + 0.1 < brightness(same) < brightness(bright) - 0.1
    assert level_db(bright) == pytest.approx(level_db(same), abs=2.0)


def test_breath_mixes_noise_into_the_voice(woman: Voice, same: NDArray) -> None:
    some, much = changed(woman, breath=0.3), changed(woman, breath=0.7)
    assert noise_share(same) + 0.03 < noise_share(some) < noise_share(much) - 0.05


def test_without_voicing_nothing_is_voiced(woman: Voice) -> None:
    assert voiced_share(changed(woman, voicing=0.0)) < 0.03


def test_tremor_shows_at_its_rate(woman: Voice, same: NDArray) -> None:
    def modulation(x: NDArray) -> float:
        track = pitch_track(x)
        voiced = track > 0
        bridged = np.interp(np.arange(len(track)), np.flatnonzero(voiced), np.log2(track[voiced]))
        spectrum = np.abs(np.fft.rfft((bridged - bridged.mean()) * np.hanning(len(bridged)), 8192))
        return float(spectrum[np.abs(np.fft.rfftfreq(8192, 0.01) - 6.0) < 0.6].max())

    assert modulation(changed(woman, tremor_st=0.8, tremor_hz=6.0)) > 2 * modulation(same)


def test_roughness_makes_the_pitch_irregular(woman: Voice, same: NDArray) -> None:
    assert noise_share(changed(woman, rough_st=0.8)) > noise_share(same) + 0.05


def test_emphasis_spreads_or_levels_loudness(woman: Voice, same: NDArray) -> None:
    more, less = changed(woman, emphasis=0.4), changed(woman, emphasis=-0.5)
    assert loudness_spread_db(less) + 0.5 < loudness_spread_db(same) < loudness_spread_db(more) - 0.5
    assert level_db(more) == pytest.approx(level_db(same), abs=1.5)


@pytest.mark.parametrize("semitones", [-3, 4])
def test_endings_bend(woman: Voice, same: NDArray, semitones: int) -> None:
    def ending(x: NDArray) -> float:
        voiced = np.flatnonzero(pitch_track(x))
        return float(12 * np.log2(np.median(pitch_track(x)[voiced[-8:]])))

    assert ending(changed(woman, ending_st=semitones)) - ending(same) == pytest.approx(semitones, abs=1.3)


def test_segments_cover_everything_once_and_the_first_is_short() -> None:
    rng = np.random.default_rng(0)
    for n in (1, 50, 300, 5000):
        parts = segments(rng.standard_normal(n), np.zeros(n))
        assert parts[0][0] == 0
        assert parts[-1][1] == n
        assert all(a[1] == b[0] for a, b in itertools.pairwise(parts))
        assert all(stop - start <= 600 for start, stop in parts)
    assert parts[0][1] <= 200


def test_joints_are_smooth() -> None:
    """A steady vowel goes through several segments without a dip, a click or a jump in level."""
    t = np.arange(7 * RATE) / RATE
    phase = np.cumsum(130 * 2 ** (0.02 * np.sin(2 * np.pi * 0.7 * t))) / RATE
    vowel = sum(np.sin(2 * np.pi * k * phase) * np.exp(-(((k * 130 - 600) / 600) ** 2)) for k in range(1, 40))
    vowel = 0.3 * vowel / np.abs(vowel).max()
    plan = plan_change(vowel, world.pitch(vowel), Change(), np.random.default_rng(0))
    pieces = [piece for piece, _ in render(vowel, plan)]
    assert len(pieces) >= 3
    level = np.sqrt((frames(np.concatenate(pieces), 480, 120) ** 2).mean(axis=1))[100:-100]
    assert level.min() > 0.6 * np.median(level)
    assert level.max() < 1.4 * np.median(level)
