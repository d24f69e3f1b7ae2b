"""What may be asked of a clip, and how a wrong wish is answered."""

from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.errors import InvalidRequest, MissingTranscript
from editx.recipe import (
    EMOTIONS,
    SPEEDS,
    STYLES,
    Clone,
    Denoise,
    Emotion,
    Paralinguistic,
    Recipe,
    Source,
    Speed,
    Style,
    Vad,
    parse_step,
    parse_steps,
)

CLIP = Clip(np.zeros(2400, np.float32), 24_000)


@pytest.mark.parametrize(
    ("data", "steps"),
    [
        ({"type": "clone", "text": "Hello."}, (Clone("Hello."),)),
        ({"type": "emotion", "info": "happy", "n": 3}, (Emotion("happy"),) * 3),
        ({"type": "style", "info": "act_coy"}, (Style("act_coy"),)),
        ({"type": "speed", "info": "more faster"}, (Speed("more faster"),)),
        ({"type": "paralinguistic", "text": "Ha [Laughter]."}, (Paralinguistic("Ha [Laughter]."),)),
        ({"type": "denoise", "info": "", "text": None}, (Denoise(),)),
        ({"type": "vad"}, (Vad(),)),
    ],
)
def test_json_becomes_steps(data: dict[str, object], steps: tuple[object, ...]) -> None:
    assert parse_step(data) == steps


@pytest.mark.parametrize(
    ("items", "param", "said"),
    [
        ([{"type": "emotoin"}], "steps[0].type", "emotion"),
        ([{}], "steps[0].type", "clone"),
        (["happy"], "steps[0]", "object"),
        ([{"type": "vad"}, {"type": "emotion", "info": "hapy"}], "steps[1].info", "happy"),
        ([{"type": "emotion"}], "steps[0].info", "happy"),
        ([{"type": "speed", "info": "remove"}], "steps[0].info", "more slower"),
        ([{"type": "speed", "info": 2}], "steps[0].info", "faster"),
        ([{"type": "denoise", "info": "happy"}], "steps[0].info", "takes no info"),
        ([{"type": "emotion", "info": "sad", "text": "x"}], "steps[0].text", "takes no text"),
        ([{"type": "clone", "text": "  "}], "steps[0].text", "empty"),
        ([{"type": "clone"}], "steps[0].text", "words"),
        ([{"type": "clone", "text": "a\ud800b"}], "steps[0].text", "half a character"),
        ([{"type": "vad", "n": 0}], "steps[0].n", "from 1"),
        ([{"type": "vad", "n": True}], "steps[0].n", "from 1"),
        ([{"type": "vad", "strength": 2}], "steps[0]", "strength"),
        ({"type": "vad"}, "steps", "list"),
        ("vad", "steps", "list"),
        (7, "steps", "list"),
    ],
)
def test_a_wrong_step_is_named_with_what_is_expected(items: object, param: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said) as caught:
        parse_steps(items)  # type: ignore[arg-type]
    assert caught.value.param == param


def test_a_recipe_needs_steps_and_not_too_many() -> None:
    with pytest.raises(InvalidRequest, match="at least one"):
        Recipe(Source(CLIP), ())
    with pytest.raises(InvalidRequest, match="at most 32"):
        Recipe(Source(CLIP), (Vad(),) * 33)


def test_clone_only_comes_first() -> None:
    with pytest.raises(InvalidRequest, match="first") as caught:
        Recipe(Source(CLIP, "hi"), (Denoise(), Clone("x")))
    assert caught.value.param == "steps[1].type"


@pytest.mark.parametrize("step", [Clone("x"), Emotion("sad"), Style("warm"), Speed("slower"), Paralinguistic("x")])
def test_a_missing_transcript_is_told(step: Emotion) -> None:
    with pytest.raises(MissingTranscript, match=step.kind):
        Recipe(Source(CLIP, "  "), (step,))
    assert Recipe(Source(CLIP, "words"), (step,)).steps == (step,)


def test_steps_that_bring_words_spare_later_steps_the_transcript() -> None:
    with pytest.raises(MissingTranscript):
        Recipe(Source(CLIP), (Vad(), Emotion("sad")))
    Recipe(Source(CLIP), (Vad(), Denoise()))


def test_the_options_are_those_the_model_was_trained_on() -> None:
    assert (len(EMOTIONS), len(STYLES), len(SPEEDS)) == (15, 33, 4)
    assert "remove" not in SPEEDS
