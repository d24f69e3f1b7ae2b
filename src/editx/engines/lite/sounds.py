"""The sounds people make between words, drawn as a few puffs each and sung by WORLD in the speaker's pitch.

A puff is a short stretch of breath or voice that glides between mouth shapes. One table says which puffs make which
tag; one function makes them heard.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from editx.engines.lite import world
from editx.engines.lite.sound import FRAMES_PER_SECOND, HOP, RATE, Floats
from editx.engines.lite.world import Analysis

BINS = world.FFT_SIZE // 2 + 1

MOUTHS: dict[str, tuple[tuple[float, float], ...]] = {
    "a": ((760, 90), (1250, 110), (2600, 170), (3500, 250)),
    "e": ((520, 80), (1850, 110), (2600, 170), (3500, 250)),
    "i": ((300, 70), (2250, 120), (3000, 200), (3600, 250)),
    "o": ((500, 80), (880, 100), (2550, 170), (3400, 250)),
    "u": ((330, 70), (760, 90), (2450, 170), (3400, 250)),
    "@": ((530, 90), (1450, 120), (2500, 180), (3500, 250)),
    "m": ((270, 120), (1050, 300), (2250, 350), (3300, 400)),
    "h": ((650, 350), (1500, 450), (2700, 600), (4200, 900)),
    "s": ((700, 600), (2200, 700), (4200, 900), (6500, 1500)),
}
"""Resonances of the mouth as (Hz, bandwidth in Hz) of an adult man: vowels, m and n, and open or narrow breath."""


@dataclass(frozen=True, slots=True)
class Puff:
    """`seconds` of sound gliding from mouth to mouth along `mouths`, then `rest_s` of silence.

    `pitch`: multiples of the speaker's F0 at even steps; empty is breath without voice. `level_db`: against the
    speaker's level. `attack`, `decay`: shares of the time spent rising and falling. `breath`: noise in the voice, 0
    to 1. `flutter_hz`: rate at which the level beats, as in a snort or a rattle.
    """

    seconds: float
    mouths: str
    pitch: tuple[float, ...] = ()
    level_db: float = 0.0
    attack: float = 0.15
    decay: float = 0.4
    breath: float = 0.15
    flutter_hz: float = 0.0
    rest_s: float = 0.0


def _laugh(times: int, mouth: str, pitch: float, level_db: float, beat_s: float = 0.2) -> tuple[Puff, ...]:
    """Ha, ha, ha: an aspirated start and a short vowel each, falling in pitch and level."""
    puffs: list[Puff] = []
    for i in range(times):
        fall = 1.0 - 0.3 * i / times
        loss = level_db - 7.0 * i / times
        puffs += [
            Puff(0.38 * beat_s, "h", level_db=loss - 10, attack=0.3, decay=0.1),
            Puff(0.5 * beat_s, mouth, (pitch * fall * 1.08, pitch * fall, pitch * fall * 0.86), loss, 0.12, 0.5, 0.3,
                 rest_s=0.12 * beat_s),
        ]  # fmt: skip
    return tuple(puffs)


_INHALE = Puff(0.55, "sh", level_db=-15, attack=0.75, decay=0.15)
_EXHALE = Puff(0.7, "h@", level_db=-14, attack=0.12, decay=0.8)
_BREATH = (Puff(0.4, "sh", level_db=-16, attack=0.7, decay=0.2, rest_s=0.06), Puff(0.5, "h", level_db=-16, decay=0.75))
_SIGH = (
    Puff(0.3, "sh", level_db=-17, attack=0.7, decay=0.2, rest_s=0.04),
    Puff(0.85, "h@", (1.12, 0.95, 0.78, 0.68), -8, 0.1, 0.8, 0.65),
)
_LAUGH = (*_laugh(5, "a", 1.45, 1.0), Puff(0.35, "sh", level_db=-15, attack=0.7, decay=0.2))
_UHM = (Puff(0.55, "@@@mm", (1.0, 0.94, 0.9, 0.88), -3, 0.12, 0.3),)

SOUNDS: dict[str, tuple[Puff, ...]] = {
    "[Breathing]": _BREATH,
    "[breath]": _BREATH,
    "[inhale]": (_INHALE,),
    "[exhale]": (_EXHALE,),
    "[Sigh]": _SIGH,
    "[sigh]": _SIGH,
    "[Laughter]": _LAUGH,
    "[laugh]": _LAUGH,
    "[chuckle]": _laugh(3, "@", 1.0, -5.0, 0.17),
    "[giggle]": _laugh(6, "i", 1.9, -4.0, 0.14),
    "[snort]": (Puff(0.32, "um", level_db=-6, attack=0.15, decay=0.4, flutter_hz=32),),
    "[cough]": (
        Puff(0.06, "a", level_db=2, attack=0.03, decay=0.5),
        Puff(0.2, "h@", (0.9, 0.7), -5, 0.05, 0.8, 0.8, 45, rest_s=0.1),
        Puff(0.05, "a", level_db=0, attack=0.03, decay=0.5),
        Puff(0.24, "h@", (0.85, 0.62), -7, 0.05, 0.85, 0.8, 45),
    ),
    "[clears throat]": (
        Puff(0.2, "@m", (0.75, 0.66), -5, 0.1, 0.3, 0.6, 38, rest_s=0.06),
        Puff(0.42, "@@m", (0.8, 0.75, 0.6), -3, 0.1, 0.45, 0.55, 34),
    ),
    "[Uhm]": _UHM,
    "[uhm]": _UHM,
    "[Surprise-oh]": (Puff(0.5, "oou", (1.15, 1.7, 1.25, 0.95), 1),),
    "[Surprise-ah]": (Puff(0.45, "aaa", (1.2, 1.8, 1.4, 1.1), 2),),
    "[Surprise-wa]": (Puff(0.6, "uaaa", (1.05, 1.75, 1.5, 1.05), 2),),
    "[Surprise-yo]": (Puff(0.5, "iooo", (1.15, 1.65, 1.35, 1.0), 1),),
    "[Confirmation-en]": (Puff(0.38, "@m", (1.15, 0.95, 0.8), -2, 0.12, 0.35),),
    "[Question-ei]": (Puff(0.42, "eei", (0.95, 1.0, 1.25, 1.65), 0, 0.12, 0.2),),
    "[Question-ah]": (Puff(0.42, "aa", (0.95, 1.0, 1.25, 1.65), 0, 0.12, 0.2),),
    "[Question-en]": (Puff(0.42, "@mm", (0.95, 0.95, 1.2, 1.6), -1, 0.12, 0.2),),
    "[Dissatisfaction-hnn]": (
        Puff(0.12, "h", level_db=-9, attack=0.2, decay=0.2),
        Puff(0.6, "mmm", (0.95, 0.88, 0.74), -2, 0.08, 0.3, 0.2),
    ),
}
"""What every paralinguistic tag sounds like."""


def make_sound(tag: str, median_hz: float, body: float, level_db: float, rng: np.random.Generator) -> Floats:
    """The sound of a tag; float64 at `RATE`.

    `median_hz`: F0 of the speaker. `body`: factor on the resonances, 1 for a man, about 1.17 for a woman. `level_db`:
    RMS of the speaker's speech. Chance varies the timing and pitch of each puff a little. Raises KeyError for a tag
    that is not in `SOUNDS`.
    """
    return np.concatenate([_puff(puff, median_hz, body, level_db, rng) for puff in SOUNDS[tag]])


def _puff(puff: Puff, median_hz: float, body: float, level_db: float, rng: np.random.Generator) -> Floats:
    frames = max(round(puff.seconds * FRAMES_PER_SECOND * (1.0 + 0.06 * rng.standard_normal())), 8)
    share = np.linspace(0.0, 1.0, frames)
    shapes = np.array([_resonances(mouth, body, voiced=bool(puff.pitch)) for mouth in puff.mouths])
    step = share * (len(shapes) - 1)
    low = np.minimum(step.astype(np.intp), max(len(shapes) - 2, 0))
    high = np.minimum(low + 1, len(shapes) - 1)
    part = (step - low)[:, None]
    envelope = np.exp(np.log(shapes[low]) * (1 - part) + np.log(shapes[high]) * part)
    envelope /= envelope.mean(axis=1, keepdims=True)
    loudness = np.minimum(1.0, np.minimum(share / puff.attack, (1.0 - share) / puff.decay))
    loudness = np.sin(0.5 * np.pi * np.clip(loudness, 0.0, 1.0)) ** 2
    if puff.flutter_hz:
        beat = 0.5 + 0.5 * np.sin(2 * np.pi * (puff.flutter_hz * share * frames / FRAMES_PER_SECOND + rng.random()))
        loudness = loudness * (0.25 + 0.75 * beat)
    if puff.pitch:
        curve = np.interp(share, np.linspace(0, 1, len(puff.pitch)), puff.pitch)
        f0 = median_hz * curve * 2.0 ** (0.3 * rng.standard_normal() / 12.0)
        noise = world.add_breath(np.full((frames, BINS), 0.02), puff.breath)
    else:
        f0, noise = np.zeros(frames), np.ones((frames, BINS))
    wave = world.synthesise(Analysis(f0, envelope * np.maximum(loudness, 1e-4)[:, None] ** 2, noise))
    wave = wave[: frames * HOP]
    top = np.sqrt(np.square(wave).mean() / max(float(np.square(loudness).mean()), 1e-6))
    wave = wave * (10.0 ** ((level_db + puff.level_db) / 20.0) / max(float(top), 1e-9))
    edge = min(HOP, len(wave) // 4)
    wave[:edge] *= np.linspace(0, 1, edge)
    wave[-edge:] *= np.linspace(1, 0, edge)
    return np.concatenate([wave, np.zeros(round(puff.rest_s * RATE * (1.0 + 0.1 * rng.standard_normal())))])


def _resonances(mouth: str, body: float, *, voiced: bool) -> Floats:
    """Power response of a mouth over frequency, with the slope of a voice or of breath; shape (BINS,)."""
    frequency = world.bin_frequencies(BINS)
    response = np.ones(BINS)
    for centre, width in MOUTHS[mouth]:
        f, b = centre * body, width * body
        response *= (f * f + b * b / 4) ** 2 / (
            (np.square(frequency - f) + b * b / 4) * (np.square(frequency + f) + b * b / 4)
        )
    slope = -6.0 if voiced else 3.0
    response *= 10.0 ** (world.tilt_curve(slope, BINS) / 10.0)
    return np.asarray(np.maximum(response, response.max() * 1e-7))
