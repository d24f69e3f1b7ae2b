"""Take stationary and slowly changing noise out of speech.

Steady tones such as mains hum are subtracted. Then short-time spectra are scaled by the Wiener gain. Its a-priori SNR
is that of a first estimate of the speech, for which the decision-directed rule (Ephraim and Malah 1984) runs through
the frames forward and backward: forward alone it is late for every onset. The noise of each frequency is a low quantile
of its smoothed power over three seconds, which speech, being sparse, hardly moves. Voices in the background are no
noise to it: they come down by a few dB only.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite.hum import without_tones
from editx.engines.lite.sound import RATE, Floats

_SIZE, _HOP = 1024, 256
_FRAMES_PER_SECOND = RATE / _HOP
_BLOCK = 256  # frames, 2.7 s
_TRACK_FRAMES = round(1.5 * _FRAMES_PER_SECOND)  # how far to both sides the noise is listened to
_TRACK_EVERY = 16
_SMOOTH_FRAMES = 9
_QUANTILE, _QUANTILE_TO_MEAN = 0.15, 1.6  # of stationary noise whose power is smoothed over that many frames
_MEMORY = 0.94
_AHEAD = 48  # frames in which the backward rule settles
_LEAST_GAIN = 10 ** (-26 / 20)
_LEAST_PRIOR = 10 ** (-18 / 10)
_LOW_CUT = np.clip((np.fft.rfftfreq(_SIZE, 1 / RATE) - 35.0) / 30.0, 0.0, 1.0)  # below 35 Hz nobody speaks
_WINDOW = np.sqrt(np.hanning(_SIZE + 1)[:-1])
_WINDOW_SUM = float(np.square(_WINDOW).sum() / _HOP)


def denoise(x: NDArray[np.floating]) -> Iterator[tuple[Floats, float]]:
    """The speech of `x` without its noise, in pieces that add up to its length, each with the share of work done."""
    n = len(x)
    frames = -(-(n + _SIZE) // _HOP)
    padded = np.zeros(frames * _HOP + _SIZE)
    padded[_SIZE : _SIZE + n] = without_tones(x)  # frame i starts at sample i * _HOP of this
    margin = _TRACK_FRAMES + _SMOOTH_FRAMES
    clean = np.zeros(_SIZE // 2 + 1)  # power of the last clean frame, for the decision-directed estimate
    held = np.zeros(_SIZE)
    position = -_SIZE
    for start in range(0, frames, _BLOCK):
        stop = min(start + _BLOCK, frames)
        low, high = max(start - margin, 0), min(stop + margin, frames)
        spectra = np.fft.rfft(_frames(padded, low, high) * _WINDOW, axis=1)
        power = np.square(np.abs(spectra))
        inside = (np.arange(low, high) * _HOP >= _SIZE // 2) & (np.arange(low, high) * _HOP <= n + _SIZE // 2)
        noise = np.maximum(_noise_power(power, inside), 1e-12)
        here, ahead = slice(start - low, stop - low), slice(stop - low, min(stop + _AHEAD, high) - low)
        forward, clean = _first_estimate(power[here], noise[here], clean)
        _, settled = _first_estimate(power[ahead][::-1], noise[ahead][::-1], np.zeros(len(clean)))
        backward, _ = _first_estimate(power[here][::-1], noise[here][::-1], settled)
        prior = np.maximum((forward + backward[::-1]) / 2.0 / noise[here], _LEAST_PRIOR)
        spectra = spectra[here] * np.maximum(prior / (1.0 + prior), _LEAST_GAIN) * _LOW_CUT
        waves = np.fft.irfft(spectra, _SIZE, axis=1) * _WINDOW / _WINDOW_SUM
        out = np.concatenate([held, np.zeros((stop - start) * _HOP)])
        for i, wave in enumerate(waves):
            out[i * _HOP : i * _HOP + _SIZE] += wave
        ready, held = out[: (stop - start) * _HOP], out[(stop - start) * _HOP :]
        yield np.clip(ready[max(-position, 0) : max(n - position, 0)], -1.0, 1.0), stop / frames
        position += len(ready)


def _frames(padded: Floats, low: int, high: int) -> Floats:
    """Windows `low` to `high` of the padded signal; shape (high - low, _SIZE)."""
    view = np.lib.stride_tricks.sliding_window_view(padded, _SIZE)
    return view[low * _HOP : (high - 1) * _HOP + 1 : _HOP]


def _noise_power(power: Floats, inside: NDArray[np.bool_]) -> Floats:
    """Power of the noise per frame and bin; frames not `inside` the recording tell nothing of it."""
    first, last = np.flatnonzero(inside)[[0, -1]]
    known = power[first : last + 1]
    width = min(_SMOOTH_FRAMES, len(known))
    total = np.cumsum(np.concatenate([np.zeros((1, known.shape[1])), known]), axis=0)
    mean = (total[width:] - total[:-width]) / width
    reach = min(2 * _TRACK_FRAMES, len(mean))
    rank = int(_QUANTILE * (reach - 1))
    noise = np.empty_like(power)
    for start in range(0, len(power), _TRACK_EVERY):
        low = int(np.clip(start - first - width // 2 - reach // 2, 0, len(mean) - reach))
        noise[start : start + _TRACK_EVERY] = np.partition(mean[low : low + reach], rank, axis=0)[rank]
    return noise * _QUANTILE_TO_MEAN


def _first_estimate(power: Floats, noise: Floats, clean: Floats) -> tuple[Floats, Floats]:
    """Power of the speech per frame and bin by the decision-directed rule, and that of the last frame.

    `clean`: that of the frame before the first.
    """
    heard = np.minimum(power / noise, 1e6)
    found = np.empty_like(power)
    for i in range(len(power)):
        prior = _MEMORY * clean / noise[i] + (1 - _MEMORY) * np.maximum(heard[i] - 1.0, 0.0)
        prior = np.maximum(prior, _LEAST_PRIOR)
        found[i] = clean = np.square(np.maximum(prior / (1.0 + prior), _LEAST_GAIN)) * power[i]
    return found, clean
