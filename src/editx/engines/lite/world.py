"""Speech as WORLD sees it: pitch, spectral envelope and aperiodicity every 5 ms, and small changes to each.

pyworld's functions release the GIL and keep no state between calls, so several threads work at once. Costs on one core
of this project's test machine, as a share of real time: pitch (DIO + StoneMask) 1.2 %, envelope 1.2 %, aperiodicity
2.3 %, synthesis 1.2 %; Harvest would take 24 %, which is why it is not used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import pyworld
from numpy.typing import NDArray

from editx.engines.lite.sound import FRAMES_PER_SECOND, HOP, RATE, Floats, Mask

LOWEST_F0, HIGHEST_F0 = 60.0, 700.0
FFT_SIZE = 1024
_FFT_SIZE_DEEP = 2048  # envelopes of voices below about 72 Hz need the longer window
_PERIOD_MS = 1000.0 / FRAMES_PER_SECOND
_BLOCK_S, _MARGIN_S = 8.0, 0.4


@dataclass(frozen=True, slots=True)
class Analysis:
    """A stretch of speech taken apart, n frames of 5 ms.

    `f0`: Hz, 0 where unvoiced, shape (n,). `envelope`: power spectrum without harmonics, shape (n, bins).
    `aperiodicity`: share of noise in the amplitude, 0 to 1, shape (n, bins). Bins run from 0 Hz to `RATE` / 2.
    """

    f0: Floats
    envelope: Floats
    aperiodicity: Floats


def bin_frequencies(bins: int) -> Floats:
    """The frequency in Hz of each of `bins` spectral bins."""
    return np.linspace(0.0, RATE / 2, bins)


def track_pitch(x: NDArray[np.floating]) -> Iterator[Floats]:
    """F0 in Hz per frame, 0 where unvoiced, in blocks of about 8 s; together of shape (len(x) // HOP + 1,)."""
    total = len(x) // HOP + 1
    block, margin = round(_BLOCK_S * FRAMES_PER_SECOND), round(_MARGIN_S * FRAMES_PER_SECOND)
    for start in range(0, total, block):
        stop = min(start + block, total)
        low, high = max(start - margin, 0), min(stop + margin, total)
        piece = np.ascontiguousarray(x[low * HOP : high * HOP], dtype=np.float64)
        f0 = np.zeros(stop - start)
        if len(piece) >= RATE // 20 and np.abs(piece).max() > 1e-5:
            coarse, times = pyworld.dio(piece, RATE, f0_floor=LOWEST_F0, f0_ceil=HIGHEST_F0, frame_period=_PERIOD_MS)
            fine = pyworld.stonemask(piece, coarse, times, RATE)
            part = fine[start - low : stop - low]
            f0[: len(part)] = np.where((part >= LOWEST_F0 * 0.8) & (part <= HIGHEST_F0 * 1.1), part, 0.0)
        yield f0


def pitch(x: NDArray[np.floating]) -> Floats:
    """F0 of the whole of `x` at once."""
    return np.concatenate(list(track_pitch(x)))


def fft_size_for(f0: Floats) -> int:
    """The size of FFT that resolves the envelope of a voice with these F0."""
    voiced = f0[f0 > 0]
    return _FFT_SIZE_DEEP if len(voiced) and np.percentile(voiced, 10) < 72.0 else FFT_SIZE


def analyse(x: NDArray[np.floating], f0: Floats, fft_size: int = FFT_SIZE) -> Analysis:
    """Take `x` apart, given the F0 of its frames. Digital silence is safe."""
    x = np.ascontiguousarray(x, dtype=np.float64)
    times = np.arange(len(f0)) / FRAMES_PER_SECOND
    envelope = pyworld.cheaptrick(x, f0, times, RATE, fft_size=fft_size)
    # the dearest part; it changes slowly enough to be looked at every 10 ms only
    pairs = np.pad(f0, (0, len(f0) % 2)).reshape(-1, 2).max(axis=1)
    aperiodicity = np.repeat(pyworld.d4c(x, pairs, times[::2].copy(), RATE, fft_size=fft_size), 2, axis=0)[: len(f0)]
    aperiodicity[f0 == 0] = 1.0
    return Analysis(f0, np.maximum(envelope, 1e-16), np.clip(aperiodicity, 0.0, 1.0))


def envelopes(x: NDArray[np.floating], f0: Floats, frames: NDArray[np.intp], fft_size: int = FFT_SIZE) -> Floats:
    """Spectral envelopes of the chosen frames only; shape (len(frames), bins)."""
    x = np.ascontiguousarray(x, dtype=np.float64)
    times = frames / FRAMES_PER_SECOND
    envelope = pyworld.cheaptrick(x, np.ascontiguousarray(f0[frames]), times, RATE, fft_size=fft_size)
    return np.asarray(np.maximum(envelope, 1e-16))


def synthesise(speech: Analysis) -> Floats:
    """Put speech together again: float64 samples, the first at the centre of frame 0, about n * HOP of them."""
    f0 = np.where(speech.f0 > 0, np.clip(speech.f0, 30.0, 1200.0), 0.0)
    return np.asarray(
        pyworld.synthesize(
            np.ascontiguousarray(f0),
            np.ascontiguousarray(speech.envelope),
            np.ascontiguousarray(speech.aperiodicity),
            RATE,
            frame_period=_PERIOD_MS,
        )
    )


# -- changes to the pitch, all on F0 in Hz of shape (n,) with 0 for unvoiced ---------------------------------------


def median_f0(f0: Floats) -> float | None:
    """The middle of the voiced F0 in Hz; None where less than 40 ms are voiced."""
    voiced = f0[f0 > 0]
    return float(np.median(voiced)) if len(voiced) >= 8 else None


def spread_st(f0: Floats) -> float:
    """How lively the pitch is: half the distance between its 10th and 90th percentile in semitones."""
    voiced = f0[f0 > 0]
    if len(voiced) < 8:
        return 0.0
    low, high = np.percentile(np.log2(voiced), [10, 90])
    return float(6.0 * (high - low))


def move_pitch(f0: Floats, centre: float, target: float, range_factor: float = 1.0) -> Floats:
    """Move the pitch from around `centre` to around `target` Hz and scale its distance from there, in octaves."""
    distance = np.clip(np.log2(np.maximum(f0, 1.0) / centre), -1.5, 1.5)
    return np.where(f0 > 0, target * 2.0 ** (distance * range_factor), 0.0)


def bend_pitch(f0: Floats, semitones: Floats) -> Floats:
    """Raise each voiced frame by its number of semitones."""
    return f0 * 2.0 ** (semitones / 12.0)


def fill_unvoiced(f0: Floats) -> Floats:
    """F0 with its unvoiced stretches bridged in log domain; all zero where nothing is voiced."""
    voiced = np.flatnonzero(f0 > 0)
    if not len(voiced):
        return f0
    return np.asarray(np.exp(np.interp(np.arange(len(f0)), voiced, np.log(f0[voiced]))))


# -- changes to the spectrum, all on arrays of shape (n, bins) ------------------------------------------------------


def warp_formants(envelope: Floats, factor: float) -> Floats:
    """Stretch the frequency axis: a formant at f goes to f * factor. Above the last known bin its value is held."""
    if factor == 1.0:
        return envelope
    bins = envelope.shape[-1]
    where = np.minimum(np.arange(bins) / factor, bins - 1)
    low = np.minimum(where.astype(np.intp), bins - 2)
    part = where - low
    return np.asarray(envelope[..., low] * (1.0 - part) + envelope[..., low + 1] * part)


def tilt_curve(tilt_db: float, bins: int) -> Floats:
    """Gain in dB per bin that rises by `tilt_db` an octave, 0 dB at 1 kHz; shape (bins,)."""
    return tilt_db * np.log2(np.clip(bin_frequencies(bins), 125.0, 8000.0) / 1000.0)


def add_breath(aperiodicity: Floats, breath: float) -> Floats:
    """Move the share of noise towards 1 by `breath` (0 to 1), less so at the lowest frequencies, as in a real voice."""
    weight = breath * np.clip(bin_frequencies(aperiodicity.shape[-1]) / 2000.0, 0.25, 1.0)
    return np.asarray(aperiodicity + (1.0 - aperiodicity) * weight)


# -- changes to the time ------------------------------------------------------------------------------------------


def resample_frames(speech: Analysis, where: Floats) -> Analysis:
    """Read the frames at fractional positions `where`: envelopes blend, voicing does not."""
    n = len(speech.f0)
    where = np.clip(where, 0, n - 1)
    nearest = np.rint(where).astype(np.intp)
    if np.array_equal(where, nearest):
        return Analysis(speech.f0[nearest], speech.envelope[nearest], speech.aperiodicity[nearest])
    low = np.minimum(where.astype(np.intp), max(n - 2, 0))
    high = np.minimum(low + 1, n - 1)
    part = (where - low)[:, None]
    f0 = np.interp(where, np.arange(n), fill_unvoiced(speech.f0))
    return Analysis(
        np.where(speech.f0[nearest] > 0, f0, 0.0),
        speech.envelope[low] * (1.0 - part) + speech.envelope[high] * part,
        speech.aperiodicity[low] * (1.0 - part) + speech.aperiodicity[high] * part,
    )


def with_f0(speech: Analysis, f0: Floats) -> Analysis:
    """The same speech at another pitch; frames that lose their voice become noise, none gains one."""
    return replace(speech, f0=np.where(speech.f0 > 0, f0, 0.0))


def voiced_mask(f0: Floats) -> Mask:
    """Which frames are voiced."""
    return np.asarray(f0 > 0)
