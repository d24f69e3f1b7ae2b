"""How long a result may be."""

from __future__ import annotations

import pytest

from editx.engines.step.text.limits import clone_cap, edit_cap, fit
from editx.errors import InvalidRequest, TooLarge
from editx.recipe import Clone, Denoise, Emotion, Speed, Step, Style, Vad


@pytest.mark.parametrize(
    ("step", "cap"),
    [
        (Emotion("happy"), 285),
        (Style("whisper"), 285),
        (Speed("faster"), 285),
        (Speed("slower"), 345),
        (Speed("more slower"), 345),
        (Denoise(), 235),
        (Vad(), 235),
    ],
)
def test_edits(step: Step, cap: int) -> None:
    assert edit_cap(step, 100) == cap


@pytest.mark.parametrize("tokens", range(60, 70))
def test_no_result_ends_within_a_group(tokens: int) -> None:
    for step in (Emotion("happy"), Speed("slower"), Denoise()):
        assert edit_cap(step, tokens) % 5 == 0
    assert clone_cap("a" * tokens) % 5 == 0


def test_clone() -> None:
    assert clone_cap("hi") == 210
    assert clone_cap("a" * 100) == 725
    assert clone_cap("我" * 100) == 1725
    assert clone_cap("今日は" * 30 + "안녕" * 5) == 100 * 16 + 125


def test_edit_cap_is_for_edits() -> None:
    with pytest.raises(InvalidRequest):
        edit_cap(Clone("hi"), 10)


def test_prompt_and_result_share_the_context() -> None:
    assert fit(500, 1000, 8192) == 500
    assert fit(500, 8000, 8192) == 192
    with pytest.raises(TooLarge, match="8192 tokens, and prompt and result together may have 8192"):
        fit(500, 8192, 8192)
