"""Take stationary and slowly changing noise out of speech.

Short-time spectra are scaled by the log-spectral amplitude estimator of Ephraim and Malah (1985) with the
decision-directed estimate of the a-priori SNR; the noise is tracked as the minimum over time of each frequency's
smoothed power (Martin 2001), with a correction for the bias of a minimum.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite.sound import RATE, Floats

_SIZE, _HOP = 1024, 256
_FRAMES_PER_SECOND = RATE / _HOP
_BLOCK = 256  # frames, 2.7 s
_TRACK_FRAMES = round(1.0 * _FRAMES_PER_SECOND)  # the noise is the minimum over this far to both sides
_SMOOTH_FRAMES = 9
_BIAS = 1.9
_MEMORY = 0.97
_LEAST_GAIN = 10 ** (-26 / 20)
_LEAST_PRIOR = 10 ** (-18 / 10)
_WINDOW = np.sqrt(np.hanning(_SIZE + 1)[:-1])
_WINDOW_SUM = float(np.square(_WINDOW).sum() / _HOP)


def denoise(x: NDArray[np.floating]) -> Iterator[tuple[Floats, float]]:
    """The speech of `x` without its noise, in pieces that add up to its length, each with the share of work done."""
    n = len(x)
    frames = -(-(n + _SIZE) // _HOP)
    padded = np.zeros(frames * _HOP + _SIZE)
    padded[_SIZE : _SIZE + n] = x  # frame i starts at sample i * _HOP of this
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
        noise = _noise_power(power, inside)[start - low : stop - low]
        spectra, power = spectra[start - low : stop - low], power[start - low : stop - low]
        gains = np.empty_like(power)
        for i in range(stop - start):
            gains[i], clean = _gain(power[i], noise[i], clean)
        waves = np.fft.irfft(spectra * gains, _SIZE, axis=1) * _WINDOW / _WINDOW_SUM
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
    if inside.sum() < 3:
        return np.zeros_like(power)
    first, last = np.flatnonzero(inside)[[0, -1]]
    known = power[first : last + 1]
    kernel = min(_SMOOTH_FRAMES, len(known))
    total = np.cumsum(np.concatenate([np.zeros((1, known.shape[1])), known]), axis=0)
    mean = (total[kernel:] - total[:-kernel]) / kernel
    reach = min(2 * _TRACK_FRAMES + 1, len(mean))
    least = _sliding_minimum(mean, reach)
    noise = np.empty_like(power)
    where = np.clip(np.arange(len(power)) - first - kernel // 2 - reach // 2, 0, len(least) - 1)
    noise[:] = least[where]
    return noise * _BIAS


def _sliding_minimum(values: Floats, width: int) -> Floats:
    """Minimum over `width` successive rows, by doubling; shape (len(values) - width + 1, bins)."""
    result, covered = values, 1
    while covered < width:
        step = min(covered, width - covered)
        result = np.minimum(result[:-step], result[step:])
        covered += step
    return result


def _gain(power: Floats, noise: Floats, clean: Floats) -> tuple[Floats, Floats]:
    """Gain of one frame, shape (bins,), and its clean power for the next frame."""
    noise = np.maximum(noise, 1e-12)
    posterior = np.minimum(power / noise, 1e6)
    prior = np.maximum(_MEMORY * clean / noise + (1 - _MEMORY) * np.maximum(posterior - 1.0, 0.0), _LEAST_PRIOR)
    wiener = prior / (1.0 + prior)
    gain = np.clip(wiener * np.exp(0.5 * exponential_integral(wiener * posterior)), _LEAST_GAIN, 1.0)
    return gain, np.square(gain) * power


def exponential_integral(x: Floats) -> Floats:
    """E1(x) for x > 0 within 5e-5 relative, after Abramowitz and Stegun 5.1.53 and 5.1.54."""
    x = np.maximum(x, 1e-8)
    small, large = np.minimum(x, 1.0), np.clip(x, 1.0, 500.0)
    series = (
        -np.log(small)
        - 0.57721566
        + small
        * (0.99999193 + small * (-0.24991055 + small * (0.05519968 + small * (-0.00976004 + small * 0.00107857))))
    )
    fraction = (large * large + 2.334733 * large + 0.250621) / (large * large + 3.330657 * large + 1.681534)
    return np.where(x <= 1.0, series, fraction * np.exp(-large) / large)
