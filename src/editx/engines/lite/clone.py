"""Speak a text in the manner of a reference voice: espeak-ng says it, WORLD makes it the reference's."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar, cast

import numpy as np

from editx.engines.lite import world
from editx.engines.lite.espeak import DEFAULT_RATE, Manner, speaker
from editx.engines.lite.language import runs
from editx.engines.lite.profile import BINS, Profile, colour_between, formant_factor, profile
from editx.engines.lite.render import Plan
from editx.engines.lite.sound import (
    FRAMES_PER_SECOND,
    HOP,
    RATE,
    Floats,
    active_frames,
    db,
    frame_power,
    smooth,
    speech_spans,
)
from editx.errors import InvalidRequest
from editx.text import estimate_seconds

T = TypeVar("T")
Speaking = Generator[None, None, T]
"""Work that takes a moment: it stops after every stretch of speech and returns what it made."""

_FEMALE_FROM_HZ = 165.0
_FEMALE_VARIANT = "f1"
_SLOWEST, _FASTEST = 0.7, 1.5
_LONGEST_PAUSE_S = 0.6
_UNIT_CHARACTERS = 300
_HEARD_CHARACTERS = 400
_DRIFT_ST, _DRIFT_HZ = 0.25, 2.0


def finished(work: Speaking[T]) -> T:
    """What `work` makes, waited for."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            return cast(T, end.value)


def manner_for(reference: Profile) -> Manner:
    """The espeak speaker that lies nearest to a voice."""
    female = reference.median_hz is not None and reference.median_hz >= _FEMALE_FROM_HZ
    return Manner(variant=_FEMALE_VARIANT if female else "")


def speak(text: str, manner: Manner) -> Floats:
    """Say `text`, each part in its language, with no pause longer than 0.6 s.

    Raises InvalidRequest when nothing of the text can be spoken.
    """
    return finished(speaking(text, manner))


def speaking(text: str, manner: Manner) -> Speaking[Floats]:
    """`speak`, a few hundred characters at a time, to be told of or cancelled between."""
    parts = []
    for run in runs(text):
        for unit in _units(run.text):
            parts.append(speaker().speak(unit, run.voice, manner))
            yield
    said = np.concatenate(parts) if parts else np.zeros(0)
    power_db = db(frame_power(said)) if len(said) else np.zeros(0)
    spoken = speech_spans(power_db > -50.0, pad_s=0.02, shortest_gap_s=0.05)
    if not spoken:
        raise InvalidRequest("nothing in the text can be spoken; give it words or numbers", param="text")
    pieces, last = [], spoken[0][0]
    for start, stop in spoken:
        gap = min(start - last, round(_LONGEST_PAUSE_S * FRAMES_PER_SECOND))
        pieces += [np.zeros(gap * HOP), said[start * HOP : stop * HOP]]
        last = stop
    margin = np.zeros(RATE // 20)
    return np.concatenate([margin, *pieces, margin])


def spoken_seconds(text: str, manner: Manner) -> Speaking[float]:
    """How long espeak speaks at `text`, without the pauses; 0 for a text without words."""
    try:
        said = yield from speaking(text, manner)
    except InvalidRequest:
        return 0.0
    return float(active_frames(db(frame_power(said))).sum()) / FRAMES_PER_SECOND


def tempo_of(reference: Profile, transcript: str, manner: Manner) -> Speaking[float]:
    """How fast a reference speaks, as a factor on espeak's default: found by letting espeak say the same words.

    Of a long transcript only the beginning is said; the rest is taken to be like it.
    """
    if reference.active_s <= 0.5:
        return 1.0
    heard = transcript[:_HEARD_CHARACTERS]
    seconds = yield from spoken_seconds(heard, manner)
    if not seconds:  # a transcript without words says nothing about tempo
        return 1.0
    seconds *= estimate_seconds(transcript) / estimate_seconds(heard)
    return float(np.clip(seconds / reference.active_s, _SLOWEST, _FASTEST))


def at_tempo(manner: Manner, tempo: float) -> Manner:
    """The same manner at a multiple of espeak's default pace."""
    return Manner(manner.variant, round(DEFAULT_RATE * tempo))


def plan_clone(said: Floats, said_f0: Floats, reference: Profile, rng: np.random.Generator) -> Plan:
    """How `said`, espeak's speech with its F0 track, becomes the reference's voice.

    Chance gives the pitch a slow drift that no two takes share.
    """
    source = profile(said, said_f0)
    f0 = said_f0
    if source.median_hz is not None:
        target = reference.median_hz or source.median_hz
        lively = reference.spread_st / source.spread_st if reference.median_hz and source.spread_st > 0.1 else 1.0
        f0 = world.move_pitch(f0, source.median_hz, target, float(np.clip(lively, 0.75, 1.7)))
        f0 = world.bend_pitch(f0, _drift(len(f0), rng))
    factor = formant_factor(source, reference) if reference.median_hz else 1.0
    colour = colour_between(source, reference, factor)
    fft_size = world.fft_size_for(said_f0)
    bins = fft_size // 2 + 1
    return Plan(
        source_f0=said_f0,
        f0=f0,
        gain_db=np.full(len(f0), reference.level_db - source.level_db),
        clock=np.arange(len(f0), dtype=np.float64),
        formant=factor,
        colour_db=np.interp(world.bin_frequencies(bins), world.bin_frequencies(BINS), colour),
        fft_size=fft_size,
    )


def _drift(frames: int, rng: np.random.Generator) -> Floats:
    """Slow random pitch movement in semitones, about 0.25 in depth and without a mean; shape (frames,)."""
    width = round(FRAMES_PER_SECOND / _DRIFT_HZ)
    drift = smooth(smooth(rng.standard_normal(frames), width), width)
    return np.asarray(_DRIFT_ST * (drift - drift.mean()) / max(float(drift.std()), 1e-9))


def _units(text: str) -> list[str]:
    """Split a long run at spaces or punctuation into parts short enough to be cancelled between."""
    units = [""]
    for char in text:
        units[-1] += char
        if len(units[-1]) >= _UNIT_CHARACTERS and not char.isalnum():
            units.append("")
    return [unit for unit in units if any(char.isalnum() for char in unit)]
