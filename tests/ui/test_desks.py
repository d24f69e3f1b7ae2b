"""The desks behind the Edit tab: what is laid on them, what goes when, and what is taken home."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterator

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.audio.codec import Decoder
from editx.engines.base import Sampling
from editx.errors import InvalidRequest, NotFound, TooLarge
from editx.recipe import AnyStep, Emotion, Paralinguistic, Speed, parse_steps
from editx.ui.archive import archive, recipe
from editx.ui.desks import RECORDING, Bounds, Card, Desk, Desks, Made
from editx.ui.sounds import Sound, Sounds

ONE, TWO, THREE = ("1" * 32, "2" * 32, "3" * 32)
SECOND_BYTES = 2 * 8000 + 44
HAPPY = Made(Emotion("happy"), "lite", 7, Sampling(temperature=0.5))


@pytest.fixture
def sounds() -> Iterator[Sounds]:
    with Sounds(max_bytes=2 * SECOND_BYTES) as kept:
        yield kept


def second(sounds: Sounds) -> Sound:
    return sounds.keep(Clip(np.full(8000, 0.25, np.float32), 8000))


def laid(desks: Desks, sounds: Sounds, id: str = ONE) -> Desk:
    return desks.lay(id, second(sounds), " Hello. ", RECORDING)


def chosen(desk: Desk) -> Card:
    assert desk.card is not None
    return desk.card


def edited(desks: Desks, sounds: Sounds, source: Card, step: AnyStep = HAPPY.step) -> Desk:
    return desks.add(ONE, source, second(sounds), "Hello.", Made(step, "lite", 7, HAPPY.sampling))


def test_cards_form_a_tree(sounds: Sounds) -> None:
    desks = Desks(sounds)
    root = chosen(laid(desks, sounds))
    assert (root.number, root.transcript, root.parent, root.origin) == (0, "Hello.", None, "recording")
    first = chosen(edited(desks, sounds, root))
    second_card = chosen(edited(desks, sounds, first))
    desk = edited(desks, sounds, first, Speed("faster"))
    assert [card.parent for card in desk.cards] == [None, 0, 1, 1]
    assert [card.number for card in desk.chain(3)] == [0, 1, 3]
    assert desk.chosen == 3
    assert desks.choose(ONE, 2).card == second_card
    assert desks.transcribe(ONE, 0, "Other words. ").cards[0].transcript == "Other words."
    assert desks.get(ONE).chosen == 2
    assert desks.get(TWO) == Desk()
    with pytest.raises(NotFound, match="card 9"):
        desks.choose(ONE, 9)
    with pytest.raises(InvalidRequest, match="reload"):
        desks.get("../../etc")


def test_sounds_on_a_desk_stay_and_go_with_it(sounds: Sounds) -> None:
    desks = Desks(sounds)
    card = chosen(laid(desks, sounds))
    others = [second(sounds) for _ in range(5)]
    assert [other.path.exists() for other in others] == [False] * 3 + [True] * 2
    assert sounds.get(card.sound.id).path.exists()
    assert desks.clear(ONE) == desks.get(ONE) == Desk()
    for _ in range(2):
        second(sounds)
    assert not card.sound.path.exists()
    with pytest.raises(NotFound):
        desks.lay(ONE, card.sound, "", RECORDING)


def test_what_was_made_of_cleared_cards_is_not_laid_among_new_ones(sounds: Sounds) -> None:
    desks = Desks(sounds)
    source = chosen(laid(desks, sounds))
    desks.clear(ONE)
    assert edited(desks, sounds, source) == Desk()
    fresh = laid(desks, sounds)
    assert edited(desks, sounds, source) == fresh


@pytest.mark.parametrize("bounds", [Bounds(desks=2), Bounds(bytes=2 * SECOND_BYTES), Bounds(age_seconds=10)], ids=str)
def test_the_desk_not_used_longest_goes_first(sounds: Sounds, bounds: Bounds) -> None:
    now = 0.0
    desks = Desks(sounds, bounds, clock=lambda: now)
    for id in (ONE, TWO):
        laid(desks, sounds, id)
    now = 8.0
    desks.get(ONE)
    now = 11.0
    laid(desks, sounds, THREE)
    assert [len(desks.get(id).cards) for id in (ONE, TWO, THREE)] == [1, 0, 1]


@pytest.mark.parametrize("bounds", [Bounds(cards=1), Bounds(desk_bytes=SECOND_BYTES)], ids=str)
def test_a_full_desk_says_what_to_do(sounds: Sounds, bounds: Bounds) -> None:
    desks = Desks(sounds, bounds)
    desks.check_room(ONE)
    laid(desks, sounds)
    with pytest.raises(TooLarge, match="start over"):
        desks.check_room(ONE)


def test_the_archive_holds_every_sound_and_how_to_make_it_again(sounds: Sounds) -> None:
    desks = Desks(sounds)
    root = chosen(laid(desks, sounds))
    happy = chosen(edited(desks, sounds, root))
    edited(desks, sounds, root, Speed("more faster"))
    desk = edited(desks, sounds, happy, Paralinguistic("Hello. [Laughter]"))
    with archive(desk) as file, zipfile.ZipFile(file) as zipped:
        assert zipped.namelist() == [
            "00-recording.wav", "01-emotion-happy.wav", "02-speed-more-faster.wav", "03-paralinguistic.wav",
            "recipe.json",
        ]  # fmt: skip
        assert Decoder().decode(zipped.read("01-emotion-happy.wav")).seconds == pytest.approx(1)
        packed = json.loads(zipped.read("recipe.json"))
    assert packed == recipe(desk)
    assert parse_steps(packed["steps"]) == (Emotion("happy"), Paralinguistic("Hello. [Laughter]"))
    assert packed["cards"][0] == {
        "card": 0, "file": "00-recording.wav", "seconds": 1.0, "transcript": "Hello.", "origin": "recording",
    }  # fmt: skip
    last = packed["cards"][3]
    assert {name: last[name] for name in ("parent", "source", "seed", "variant", "sampling")} == {
        "parent": 1, "source": 0, "seed": 7, "variant": "lite", "sampling": {"temperature": 0.5},
    }  # fmt: skip
    desks.clear(ONE)
    for _ in range(3):
        second(sounds)
    with pytest.raises(NotFound, match="cleared"):
        archive(desk)
