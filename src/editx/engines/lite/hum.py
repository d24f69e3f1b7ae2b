"""Take out of a recording what hides the pitch of its voice: rumble, and tones that never move, such as mains hum.

A tone is known by the quiet moments: in a narrow band it stands out of its neighbours even there, where a voice rests.
How strong it is and where its wave stands is a median over a few seconds, which the voice passing through moves
little; that wave is then subtracted, so that the voice keeps all it has at the same frequency.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite.sound import RATE, Floats

_SIZE, _HOP = 8192, 2048  # 0.34 s: bins of 3 Hz
_SHORTEST = RATE * 3 // 2  # what lasts for less may be a voice
_LOWEST_HZ, _HIGHEST_HZ = 35.0, 1500.0
_QUIET = 0.2  # quantile over time
_NEIGHBOURS = 9
_STANDS_OUT = 10 ** (9 / 10)
_MATTERS = 10 ** (-45 / 10)  # of the recording's power
_REACH_S = 2.0
_MOST_SHARE = 0.75  # of the power may be hum; else it is what the recording is about
_CUT_HZ, _CUT_WIDTH_HZ = 35.0, 20.0
_BLOCK, _MARGIN = 16 * RATE, RATE // 2
_WINDOW = np.hanning(_SIZE + 1)[:-1]


def without_hum(x: NDArray[np.floating]) -> Floats:
    """`x` without what lies below 55 Hz and without steady tones up to 1.5 kHz; as long as `x`."""
    return _without_rumble(without_tones(x))


def without_tones(x: NDArray[np.floating]) -> Floats:
    """`x` without the tones up to 1.5 kHz that last from beginning to end; as long as `x`."""
    voice = np.asarray(x, dtype=np.float64)
    if len(voice) >= _SHORTEST:
        hum = _steady_tones(voice)
        if np.square(hum).mean() < _MOST_SHARE * np.square(voice).mean():
            return np.asarray(voice - hum)
    return voice


def _steady_tones(x: Floats) -> Floats:
    """The sum of the tones that last from beginning to end; shape of `x`."""
    low, high = (round(hz * _SIZE / RATE) for hz in (_LOWEST_HZ, _HIGHEST_HZ))
    windows = np.lib.stride_tricks.sliding_window_view(x, _SIZE)[::_HOP]
    spectra = np.stack([np.fft.rfft(window * _WINDOW)[low:high] for window in windows]) / (_WINDOW.sum() / 2)
    quiet = np.quantile(np.square(np.abs(spectra)), _QUIET, axis=0)
    around = np.lib.stride_tricks.sliding_window_view(np.pad(quiet, _NEIGHBOURS, mode="edge"), 2 * _NEIGHBOURS + 1)
    least = np.maximum(_STANDS_OUT * np.median(around, axis=1), 2 * _MATTERS * np.square(x).mean())
    peaks = (quiet >= np.roll(quiet, 1)) & (quiet > np.roll(quiet, -1)) & (quiet > least)
    peaks[[0, -1]] = False
    hum = np.zeros(len(x))
    for peak in np.flatnonzero(peaks):
        wave = spectra[:, peak]
        turn = 2 * np.pi * (low + peak) / _SIZE
        # the phase of a steady tone advances evenly from window to window, which tells its frequency finely
        steps = wave[1:] * wave[:-1].conj() * np.exp(-1j * turn * _HOP)
        turn += np.angle(np.mean(steps / np.maximum(np.abs(steps), 1e-30))) / _HOP
        _add_tone(hum, turn, _strength(windows, turn))
    return hum


def _strength(windows: Floats, turn: float) -> NDArray[np.complex128]:
    """Amplitude and phase, at the very beginning, of the tone that turns by `turn` a sample, heard in each window."""
    bare = _WINDOW * np.exp(-1j * turn * np.arange(_SIZE)) * (2 / _WINDOW.sum())
    heard = np.array([complex(window @ bare.real, window @ bare.imag) for window in windows])
    heard *= np.exp(-1j * turn * _HOP * np.arange(len(windows)))
    reach = min(round(_REACH_S * RATE / _HOP), (len(heard) - 1) // 2)
    near = np.lib.stride_tricks.sliding_window_view(np.pad(heard, reach, mode="reflect"), 2 * reach + 1)
    return np.asarray(np.median(near.real, axis=1) + 1j * np.median(near.imag, axis=1))


def _add_tone(hum: Floats, turn: float, strength: NDArray[np.complex128]) -> None:
    """Add the tone to `hum`; its strength is known at the centre of each window and goes straight in between."""
    blocks = -(-len(hum) // _HOP)
    before = _SIZE // 2 // _HOP
    knots = np.pad(strength, (before, max(blocks + 1 - before - len(strength), 0)), mode="edge")
    knots = knots[: blocks + 1]
    here = np.exp(1j * turn * np.arange(_HOP))
    rising = here * np.arange(_HOP) / _HOP
    for i, phase in enumerate(np.exp(1j * turn * _HOP * np.arange(blocks))):
        block = hum[i * _HOP : (i + 1) * _HOP]
        wave = phase * (knots[i] * here + (knots[i + 1] - knots[i]) * rising)
        block += wave.real[: len(block)]


def _without_rumble(x: Floats) -> Floats:
    out = np.empty(len(x))
    for start in range(0, len(x), _BLOCK):
        low, stop = max(start - _MARGIN, 0), min(start + _BLOCK, len(x))
        piece = x[low : stop + _MARGIN]
        size = len(piece) + _MARGIN
        gain = np.clip((np.fft.rfftfreq(size, 1 / RATE) - _CUT_HZ) / _CUT_WIDTH_HZ, 0.0, 1.0)
        out[start:stop] = np.fft.irfft(np.fft.rfft(piece, size) * gain, size)[start - low : stop - low]
    return out
