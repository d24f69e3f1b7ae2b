"""Audio codes to ids and back."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from editx.engines.step.text.audio_tokens import PUBLISHED, interleave, realign, split, token_string
from editx.errors import InvalidRequest
from tests import golden

MERGES: list[dict[str, Any]] = golden.prompts("merges")


@pytest.mark.parametrize("case", MERGES, ids=lambda case: f"{len(case['vq02'])}+{len(case['vq06'])}")
def test_interleaving(case: dict[str, Any]) -> None:
    ids = interleave(case["vq02"], case["vq06"])
    assert ids == case["mixed_ids"]
    assert token_string(ids) == case["token_string"]


@given(st.lists(st.tuples(*[st.integers(0, 1023)] * 2, *[st.integers(0, 4095)] * 3)))
def test_split_is_the_inverse(groups: list[tuple[int, ...]]) -> None:
    vq02 = [code for group in groups for code in group[:2]]
    vq06 = [code for group in groups for code in group[2:]]
    ids = interleave(vq02, vq06)
    assert split(ids) == (vq02, vq06)
    assert realign(ids) == ids


def test_split_takes_an_incomplete_last_group() -> None:
    assert split([65536, 65540, 66560]) == ([0, 4], [0])


@pytest.mark.parametrize("ids", [[66560], [65536, 65536, 65536], [78], [65536, 65536, 70656]])
def test_split_refuses_what_does_not_belong(ids: list[int]) -> None:
    with pytest.raises(InvalidRequest, match=f"position {len(ids) - 1}"):
        split(ids)


def test_realign_drops_strays_text_and_the_end() -> None:
    group = interleave([1, 2], [3, 4, 5])
    assert realign([70000, *group, 99, *group, 66600, *group, *group[:4]]) == group * 3
    assert realign([70000, 70001, 70002]) == []


@pytest.mark.parametrize(("vq02", "vq06"), [([1024, 0], [0] * 3), ([0, 0], [0, 4096, 0]), ([-1, 0], [0] * 3)])
def test_codes_outside_their_codebook_are_refused(vq02: list[int], vq06: list[int]) -> None:
    with pytest.raises(InvalidRequest, match="run from 0"):
        interleave(vq02, vq06)


def test_the_published_layout() -> None:
    assert (PUBLISHED.semantic_base, PUBLISHED.audio_end) == (66560, 70656)
