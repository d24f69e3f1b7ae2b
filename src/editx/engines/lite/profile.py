"""What is remembered of a voice: how high, how lively, how loud, and the shape of its spectrum."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite import world
from editx.engines.lite.sound import FRAMES_PER_SECOND, RATE, Floats, active_frames, active_level_db, db, frame_power

BINS = world.FFT_SIZE // 2 + 1
_MOST_FRAMES = 300
_LOWEST_HZ, _HIGHEST_HZ = 200.0, 5000.0
_WARPS = np.exp(np.linspace(np.log(0.8), np.log(1.3), 51))
_PRIOR_WEIGHT = 6.0
_COLOUR_LIMIT_DB = 10.0


@dataclass(frozen=True, slots=True)
class Profile:
    """A voice. `median_hz`: F0, None where nothing is voiced. `spread_st`: its liveliness, see
    `world.spread_st`.

    `level_db`: RMS of its speech without pauses. `envelope_db`: its mean spectral envelope, shape (BINS,).
    `active_s`: how long it speaks, without pauses.
    """

    median_hz: float | None
    spread_st: float
    level_db: float
    envelope_db: Floats
    active_s: float


def profile(x: NDArray[np.floating], f0: Floats) -> Profile:
    """Listen to a voice. Only a few hundred frames, spread evenly, are looked at in detail."""
    power = frame_power(x)
    active = active_frames(db(power))
    telling = np.flatnonzero(active & (f0 > 0))
    told = np.where(active, f0, 0.0) if len(telling) >= 8 else f0  # a hum between the words is not the voice
    if len(telling) < 8:
        telling = np.flatnonzero(active) if active.any() else np.arange(len(f0))
    chosen = telling[np.linspace(0, len(telling) - 1, min(len(telling), _MOST_FRAMES)).astype(np.intp)]
    envelope = db(world.envelopes(x, f0, chosen))
    # the loud frames tell the voice, the quiet ones the room
    weight = power[chosen] / max(float(power[chosen].max()), 1e-12)
    mean = np.average(envelope, axis=0, weights=np.sqrt(weight) + 1e-6)
    return Profile(
        world.median_f0(told), world.spread_st(told), active_level_db(x), mean, float(active.sum()) / FRAMES_PER_SECOND
    )


def formant_factor(source: Profile, target: Profile) -> float:
    """How much the resonances of `source` must rise to be like `target`'s: the inverse ratio of vocal tract lengths.

    The warp under which the two mean envelopes agree best, drawn towards what the difference in pitch makes likely,
    since a mean over different words tells the tract's length only roughly.
    """
    grid = np.exp(np.linspace(np.log(_LOWEST_HZ), np.log(_HIGHEST_HZ), 120))
    frequency = world.bin_frequencies(BINS)
    likely = 1.0
    if source.median_hz and target.median_hz:
        likely = float(np.clip((target.median_hz / source.median_hz) ** 0.25, 0.85, 1.22))
    goal = _detrended(np.interp(grid, frequency, target.envelope_db), grid)
    scores = []
    for warp in _WARPS:
        shape = _detrended(np.interp(grid / warp, frequency, source.envelope_db), grid)
        likeness = float(np.corrcoef(shape, goal)[0, 1]) if shape.any() and goal.any() else 0.0
        scores.append(likeness - _PRIOR_WEIGHT * np.log(warp / likely) ** 2)
    return float(_WARPS[int(np.argmax(scores))])


def colour_between(source: Profile, target: Profile, factor: float) -> Floats:
    """Gain in dB per bin that gives `source`, warped by `factor`, the long-term spectrum of `target`; shape (BINS,).

    Smoothed over a third of an octave and limited to 10 dB, so that one loud vowel does not colour everything.
    """
    frequency = world.bin_frequencies(BINS)
    warped = np.interp(frequency / factor, frequency, source.envelope_db)
    centre = np.exp(np.linspace(np.log(80.0), np.log(RATE / 2), 100))
    gap = np.interp(centre, frequency, target.envelope_db - warped)
    gap -= np.median(gap[(centre > _LOWEST_HZ) & (centre < 4000.0)])
    kernel = np.hanning(9)[1:-1]
    gap = np.convolve(np.pad(gap, 3, mode="edge"), kernel / kernel.sum(), mode="valid")
    return np.interp(frequency, centre, np.clip(gap * 0.8, -_COLOUR_LIMIT_DB, _COLOUR_LIMIT_DB))


def _detrended(shape: Floats, grid: Floats) -> Floats:
    """An envelope without its level and slope over log frequency, which belong to the microphone and the glottis."""
    x = np.log(grid)
    return np.asarray(shape - np.polyval(np.polyfit(x, shape, 2), x))
