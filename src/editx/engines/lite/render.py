"""Carry out a plan: resynthesise a recording with new pitch, time, level and colour, a few seconds at a time."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite import world
from editx.engines.lite.sound import FRAMES_PER_SECOND, HOP, Floats, db, frame_power, limit
from editx.engines.lite.world import Analysis

_CONTEXT = 10  # frames of neighbourhood given to each segment
_FADE = 2 * HOP  # samples over which neighbouring segments blend, on each side of the cut
_TRIES, _LOST, _MOST_PUSH = 3, 10 ** (0.3 / 10), 2.0
_FIRST_S, _SHORTEST_S, _LONGEST_S = (0.4, 1.0), 1.2, 2.6


@dataclass(frozen=True, slots=True)
class Plan:
    """What becomes of each of a recording's n frames.

    `source_f0`: its F0 in Hz, shape (n,), 0 where unvoiced. `f0`: the new one. `gain_db`: added level, shape (n,).
    `clock`: when each frame is heard in the result, in frames, shape (n,), increasing from 0. `formant`: factor on
    resonance frequencies. `colour_db`: spectral gain after that, over frequency, shape (bins,), or None. `breath`:
    0 to 1. `fft_size`: of the analysis; bins = fft_size // 2 + 1.
    """

    source_f0: Floats
    f0: Floats
    gain_db: Floats
    clock: Floats
    formant: float = 1.0
    colour_db: Floats | None = None
    breath: float = 0.0
    fft_size: int = world.FFT_SIZE

    @property
    def samples(self) -> int:
        """Length of the result."""
        return round(float(self.clock[-1]) * HOP)


def render(x: NDArray[np.floating], plan: Plan) -> Iterator[tuple[Floats, float]]:
    """The result in order, piece by piece, each with the share of the work that is done (0 to 1).

    Pieces are float64, finite, within ±1. Cuts lie where the recording is quietest, and neighbours blend there. Each
    keeps the power of what it is made from, whatever happens to its colour, but for the planned gain.
    """
    n = len(plan.f0)
    power = frame_power(x)
    tail = np.zeros(0)
    for start, stop in segments(db(power), plan.source_f0):
        low, high = max(start - _CONTEXT, 0), min(stop + _CONTEXT, n)
        speech = world.analyse(x[low * HOP : high * HOP], plan.source_f0[low:high], plan.fft_size)
        changed = _change(speech, plan, low, high)
        first, last = int(np.floor(plan.clock[low])), int(np.ceil(plan.clock[high - 1]))
        where = np.interp(np.arange(first, last + 1), plan.clock[low:high], np.arange(high - low))
        wave = world.synthesise(world.resample_frames(changed, where))
        wanted = np.interp(low + where, np.arange(n), power * 10.0 ** (plan.gain_db / 10.0)).mean()
        wave = _at_power(wave, wanted)
        begin = 0 if start == 0 else round(float(plan.clock[start]) * HOP) - _FADE
        end = plan.samples if stop == n else round(float(plan.clock[stop]) * HOP) + _FADE
        piece = np.zeros(max(end - begin, 0))
        offset = begin - first * HOP
        found = wave[max(offset, 0) : offset + len(piece)]
        piece[max(-offset, 0) : max(-offset, 0) + len(found)] = found[: len(piece) - max(-offset, 0)]
        piece = _blend(tail, piece)
        keep = len(piece) if stop == n else max(len(piece) - 2 * _FADE, 0)
        tail = piece[keep:]
        yield piece[:keep], stop / n


def segments(power_db: Floats, f0: Floats) -> list[tuple[int, int]]:
    """Half-open ranges of frames that cover a recording, cut at its quietest and preferably unvoiced moments.

    The first is short, so that the first sound comes soon.
    """
    n = len(f0)
    cost = power_db[:n] + np.where(f0 > 0, 15.0, 0.0)
    cuts = [0]
    while True:
        shortest, longest = _FIRST_S if len(cuts) == 1 else (_SHORTEST_S, _LONGEST_S)
        low = cuts[-1] + round(shortest * FRAMES_PER_SECOND)
        high = cuts[-1] + round(longest * FRAMES_PER_SECOND)
        if high + round(0.2 * FRAMES_PER_SECOND) >= n:
            break
        cuts.append(low + int(np.argmin(cost[low:high])))
    return list(zip(cuts, [*cuts[1:], n], strict=True))


def _at_power(wave: Floats, wanted: float) -> Floats:
    """`wave` limited to full scale at the mean square `wanted`, or as near to it as 6 dB into the limiter bring it."""
    wave = wave * np.sqrt(wanted / max(float(np.square(wave).mean()), 1e-14))
    push, limited = 1.0, limit(wave)
    for _ in range(_TRIES):
        lost = wanted / max(float(np.square(limited).mean()), 1e-14)
        if lost < _LOST or push >= _MOST_PUSH:
            break
        push = min(push * lost, _MOST_PUSH)
        limited = limit(wave * push)
    return limited


def _change(speech: Analysis, plan: Plan, low: int, high: int) -> Analysis:
    """The planned changes to a segment's pitch and spectrum."""
    envelope = world.warp_formants(speech.envelope, plan.formant)
    if plan.colour_db is not None:
        envelope = envelope * 10.0 ** (plan.colour_db / 10.0)
    envelope = envelope * 10.0 ** (plan.gain_db[low:high, None] / 10.0)
    f0 = np.where(speech.f0 > 0, plan.f0[low:high], 0.0)
    aperiodicity = world.add_breath(speech.aperiodicity, plan.breath) if plan.breath else speech.aperiodicity
    return Analysis(f0, envelope, aperiodicity)


def _blend(tail: Floats, piece: Floats) -> Floats:
    """Cross-fade the end of what went before into the beginning of what comes next."""
    width = min(len(tail), len(piece))
    if not width:
        return piece
    rise = (np.arange(width) + 0.5) / width
    piece = piece.copy()
    piece[:width] = tail[:width] * (1.0 - rise) + piece[:width] * rise
    return piece
