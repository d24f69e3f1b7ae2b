"""The desks of the Edit tab: for every browser tab the recordings laid on it and what was made of them, as a tree."""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, replace

from editx.engines.base import Sampling
from editx.errors import InvalidRequest, NotFound, TooLarge
from editx.recipe import AnyStep
from editx.ui.sounds import Sound, Sounds

RECORDING, CLONE = "recording", "clone"
"""Where a card without a parent comes from."""


@dataclass(frozen=True, slots=True)
class Made:
    """How a card came about: the step that was applied to its parent, and everything needed to apply it again."""

    step: AnyStep
    variant: str
    seed: int
    sampling: Sampling


@dataclass(frozen=True, slots=True)
class Card:
    """A sound and the words spoken in it. `number`: its place on the desk, from 0.

    `parent` and `made` belong together; a card without them is an `origin`: RECORDING or CLONE.
    """

    number: int
    sound: Sound
    transcript: str
    origin: str = ""
    parent: int | None = None
    made: Made | None = None


@dataclass(frozen=True, slots=True)
class Desk:
    """Cards in the order in which they came; `chosen` is the number of the one that is edited next."""

    cards: tuple[Card, ...] = ()
    chosen: int = 0

    @property
    def card(self) -> Card | None:
        """The chosen card; None on an empty desk."""
        return self.cards[self.chosen] if self.cards else None

    @property
    def bytes(self) -> int:
        return sum(card.sound.bytes for card in self.cards)

    def chain(self, number: int) -> tuple[Card, ...]:
        """The cards from an origin to card `number`."""
        card = self.cards[number]
        return (*self.chain(card.parent), card) if card.parent is not None else (card,)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What desks may hold. The least recently used desk goes first; an `age` is counted from its last use."""

    desks: int = 100
    cards: int = 100
    desk_bytes: int = 200_000_000
    bytes: int = 500_000_000
    age_seconds: float = 12 * 3600.0


@dataclass(frozen=True, slots=True)
class _Place:
    """A desk and when it was used last."""

    desk: Desk
    used: float


class Desks:
    """The desks of all browser tabs, each under an id that nobody can guess. Its cards' sounds are held in `sounds`.

    A desk that was never used, has expired or was cleared is an empty one. Thread-safe.
    """

    def __init__(
        self, sounds: Sounds, bounds: Bounds | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._sounds = sounds
        self._bounds = bounds or Bounds()
        self._clock = clock
        self._places: OrderedDict[str, _Place] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, id: str) -> Desk:
        """The desk of a browser tab; looking at it keeps it. Raises InvalidRequest for what cannot be an id."""
        with self._lock:
            return self._desk(id)

    def check_room(self, id: str) -> None:
        """Raises TooLarge when nothing more may be laid on the desk."""
        desk, bounds = self.get(id), self._bounds
        if len(desk.cards) >= bounds.cards or desk.bytes >= bounds.desk_bytes:
            raise TooLarge(
                f"there is room for {bounds.cards} cards and {bounds.desk_bytes // 1_000_000} MB of sound in one tab, "
                "and they are taken; download what you need, then start over"
            )

    def lay(self, id: str, sound: Sound, transcript: str, origin: str) -> Desk:
        """Add a card without a parent and choose it. Raises NotFound when the sound is there no more."""
        with self._lock:
            desk = self._desk(id)
            return self._lay(id, desk, Card(len(desk.cards), self._sounds.hold(sound.id), transcript.strip(), origin))

    def add(self, id: str, source: Card, sound: Sound, transcript: str, made: Made) -> Desk:
        """Add what became of `source` and choose it; on a desk that has `source` no more nothing changes.

        Raises NotFound when the sound is there no more.
        """
        with self._lock:
            desk = self._desk(id)
            if source.number >= len(desk.cards) or desk.cards[source.number].sound.id != source.sound.id:
                return desk
            held = self._sounds.hold(sound.id)
            return self._lay(id, desk, Card(len(desk.cards), held, transcript, "", source.number, made))

    def choose(self, id: str, number: int) -> Desk:
        """Make card `number` the one that is edited next. Raises NotFound when there is none."""
        with self._lock:
            desk = self._desk(id)
            if not 0 <= number < len(desk.cards):
                raise NotFound(f"there is no card {number} any more", param="card")
            return self._store(id, replace(desk, chosen=number))

    def transcribe(self, id: str, number: int, transcript: str) -> Desk:
        """Say what is spoken in card `number`, where there is one."""
        with self._lock:
            desk = self._desk(id)
            if not 0 <= number < len(desk.cards):
                return desk
            card = replace(desk.cards[number], transcript=transcript.strip())
            return self._store(id, replace(desk, cards=(*desk.cards[:number], card, *desk.cards[number + 1 :])))

    def clear(self, id: str) -> Desk:
        """Take everything off the desk."""
        with self._lock:
            self._drop(id)
        return Desk()

    def _desk(self, id: str) -> Desk:
        if not re.fullmatch(r"[0-9a-f]{32}", id):
            raise InvalidRequest("this page does not say which browser tab it is; reload it", param="desk")
        self._tidy()
        if id not in self._places:
            return Desk()
        return self._store(id, self._places[id].desk)

    def _lay(self, id: str, desk: Desk, card: Card) -> Desk:
        """Put `card` last and choose it."""
        stored = self._store(id, Desk((*desk.cards, card), card.number))
        self._tidy()
        return stored

    def _store(self, id: str, desk: Desk) -> Desk:
        self._places[id] = _Place(desk, self._clock())
        self._places.move_to_end(id)
        return desk

    def _tidy(self) -> None:
        """Drop the desks that are too old or too many; the one used last stays."""
        bounds, now = self._bounds, self._clock()
        total = sum(place.desk.bytes for place in self._places.values())
        for id, place in list(self._places.items()):
            crowded = len(self._places) > 1 and (len(self._places) > bounds.desks or total > bounds.bytes)
            if not crowded and now - place.used <= bounds.age_seconds:
                break
            total -= place.desk.bytes
            self._drop(id)

    def _drop(self, id: str) -> None:
        if id in self._places:
            for card in self._places.pop(id).desk.cards:
                self._sounds.release(card.sound.id)
