"""Turn an option's row of changes into a plan for one recording."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite import world
from editx.engines.lite.options import Change
from editx.engines.lite.render import Plan
from editx.engines.lite.sound import (
    FRAMES_PER_SECOND,
    Floats,
    Mask,
    active_frames,
    db,
    frame_power,
    smooth,
    spans,
    speech_spans,
)

_ENDING_S = 0.35
_EMPHASIS_LIMIT_DB = 9.0


def plan_change(x: NDArray[np.floating], f0: Floats, change: Change, rng: np.random.Generator) -> Plan:
    """What `change` does to a recording `x` with the F0 track `f0`.

    Chance decides the phase of a tremor and the shape of roughness.
    """
    power = frame_power(x)
    speech = np.zeros(len(f0), dtype=bool)
    for start, stop in speech_spans(active_frames(db(power)), pad_s=0.03, shortest_gap_s=0.12):
        speech[start:stop] = True
    fft_size = world.fft_size_for(f0)
    bins = fft_size // 2 + 1
    return Plan(
        source_f0=f0,
        f0=new_pitch(f0, speech, change, rng),
        gain_db=new_level(power, speech, change),
        clock=new_clock(speech, change.tempo, change.pause),
        formant=change.formant,
        colour_db=world.tilt_curve(change.tilt_db, bins) if change.tilt_db else None,
        breath=change.breath,
        fft_size=fft_size,
    )


def new_pitch(f0: Floats, speech: Mask, change: Change, rng: np.random.Generator) -> Floats:
    """F0 after the change, 0 where unvoiced or whispered."""
    centre = world.median_f0(f0)
    if centre is None or change.voicing == 0.0:
        return np.zeros(len(f0))
    bend = ending_bend(f0, speech, change.ending_st) if change.ending_st else np.zeros(len(f0))
    if change.tremor_st:
        turns = change.tremor_hz * np.arange(len(f0)) / FRAMES_PER_SECOND + rng.random()
        bend += change.tremor_st * np.sin(2 * np.pi * turns)
    if change.rough_st:
        noise = smooth(rng.standard_normal(len(f0)), 3)
        bend += change.rough_st * noise / max(float(noise.std()), 1e-9)
    target = centre * 2.0 ** (change.pitch_st / 12.0)
    return world.bend_pitch(world.move_pitch(f0, centre, target, change.range), bend)


def ending_bend(f0: Floats, speech: Mask, semitones: float) -> Floats:
    """Semitones per frame that grow over the last voiced 350 ms of every phrase."""
    bend = np.zeros(len(f0))
    width = round(_ENDING_S * FRAMES_PER_SECOND)
    for start, stop in spans(speech):
        voiced = np.flatnonzero(f0[start:stop] > 0)
        if len(voiced):
            end = start + int(voiced[-1]) + 1
            begin = max(end - width, start)
            bend[begin:end] = semitones * np.linspace(0.0, 1.0, end - begin)
    return bend


def new_level(power: Floats, speech: Mask, change: Change) -> Floats:
    """Gain in dB per frame: the change's level, and its emphasis without a change of the mean level."""
    gain = np.full(len(power), change.energy_db, dtype=np.float64)
    if change.emphasis and speech.any():
        slow = db(smooth(power, FRAMES_PER_SECOND // 8))
        mean = float(db(np.asarray(power[speech].mean())))
        bend = np.clip(change.emphasis * (slow - mean), -_EMPHASIS_LIMIT_DB, _EMPHASIS_LIMIT_DB)
        bend = smooth(np.where(speech, bend, 0.0), FRAMES_PER_SECOND // 25)
        after = float(db(np.asarray((power * 10.0 ** (bend / 10.0))[speech].mean())))
        gain += bend + (mean - after)
    return gain


def new_clock(speech: Mask, tempo: float, pause: float) -> Floats:
    """When each frame is heard, in frames of the result: speech at `tempo`, pauses longer by `pause` besides."""
    length = np.where(speech, 1.0, pause) / tempo
    return np.concatenate([[0.0], np.cumsum(length)[:-1]])
