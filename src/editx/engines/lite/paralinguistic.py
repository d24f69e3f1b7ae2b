"""Put sounds that are no words into a recording, where the tags stand in its text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from editx.engines.lite.clone import Speaking, manner_for, spoken_seconds
from editx.engines.lite.profile import Profile
from editx.engines.lite.sound import (
    FRAMES_PER_SECOND,
    HOP,
    RATE,
    Floats,
    Mask,
    active_frames,
    db,
    frame_power,
    limit,
    speech_spans,
)
from editx.engines.lite.sounds import SOUNDS, make_sound
from editx.text import guess_language, language_tag, spelled_tags

_TAG = re.compile("|".join(re.escape(tag) for tag in SOUNDS))
_SEARCH_S = 0.3
_GAP_S = 0.06
_FADE = RATE // 200
_UNKNOWN_MEDIAN_HZ = 150.0
_SOFTEST_DB = -45.0


@dataclass(frozen=True, slots=True)
class Placed:
    """A tag and the share of the spoken words that come before it, 0 to 1."""

    tag: str
    share: float


def place_tags(text: str, speaker: Profile) -> Speaking[list[Placed]]:
    """Where each known tag stands among the words, by how long espeak takes for the words before it.

    Tags nobody knows are words.
    """
    manner = manner_for(speaker)
    text = spelled_tags(text)
    found = list(_TAG.finditer(text))
    if not found:
        return []
    # a piece alone may not show which language the text is in
    language = language_tag(text) or ("[Japanese]" if guess_language(text) == "ja" else "")
    edges = [0, *(edge for match in found for edge in match.span()), len(text)]
    seconds = []
    for start, stop in zip(edges[::2], edges[1::2], strict=True):
        seconds.append((yield from spoken_seconds(language + text[start:stop], manner)))
    until = np.cumsum(seconds)
    return [
        Placed(match.group(), float(before / until[-1]) if until[-1] else 1.0)
        for match, before in zip(found, until, strict=False)
    ]


def place_in_sound(share: float, speech: Mask, power_db: Floats) -> int:
    """The frame at which a sound belongs: after `share` of the speech, drawn to the quietest moment near by."""
    spoken = np.cumsum(speech)
    if not spoken[-1]:
        return round(share * (len(speech) - 1))
    if share <= 0.0:
        return max(int(np.flatnonzero(speech)[0]) - 4, 0)
    if share >= 0.995:
        return min(int(np.flatnonzero(speech)[-1]) + 4, len(speech) - 1)
    guess = int(np.searchsorted(spoken, share * spoken[-1]))
    reach = round(_SEARCH_S * FRAMES_PER_SECOND)
    low, high = max(guess - reach, 0), min(guess + reach + 1, len(speech))
    distance = np.abs(np.arange(low, high) - guess) / reach
    return low + int(np.argmin(power_db[low:high] + 12.0 * distance))


def insert_sounds(
    x: NDArray[np.floating],
    tags: list[Placed],
    speaker: Profile,
    rng: np.random.Generator,
) -> Iterator[tuple[Floats, float]]:
    """`x` with a sound for every one of `tags`, each piece with the share of work done.

    What was recorded stays as it is but for 5 ms at each cut.
    """
    power_db = db(frame_power(x))
    speech = np.zeros(len(power_db), dtype=bool)
    for start, stop in speech_spans(active_frames(power_db), pad_s=0.0, shortest_gap_s=0.06):
        speech[start:stop] = True
    places = [(place_in_sound(p.share, speech, power_db) * HOP, p.tag) for p in tags]
    median = speaker.median_hz or _UNKNOWN_MEDIAN_HZ
    body = float(np.clip((median / 110.0) ** 0.25, 0.92, 1.25))
    rise = (np.arange(_FADE) + 0.5) / _FADE
    gap = np.zeros(round(_GAP_S * RATE))
    at = 0
    for place, tag in sorted(places, key=lambda item: item[0]):
        before = np.array(x[at:place], dtype=np.float64)
        width = min(_FADE, len(before))
        if at and width:
            before[:width] *= rise[:width]
        if width:
            before[-width:] *= rise[:width][::-1]
        yield before, place / max(len(x), 1)
        sound = make_sound(tag, median, body, max(speaker.level_db, _SOFTEST_DB), rng)
        yield np.concatenate([gap, limit(sound), gap]), place / max(len(x), 1)
        at = place
    rest = np.array(x[at:], dtype=np.float64)
    width = min(_FADE, len(rest)) if at else 0
    rest[:width] *= rise[:width]
    yield rest, 1.0
