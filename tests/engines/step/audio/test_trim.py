"""Silence goes at the reference's samples, exactly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from editx.engines.step.audio.trim import trim
from tests import golden
from tests.golden import Golden


@pytest.mark.parametrize("file", golden.family("audio_trim"), ids=repr)
def test_every_case(file: Golden) -> None:
    cases = [name.removesuffix(".in") for name in file.names if name.endswith(".in")]
    assert cases
    for case in cases:
        trimmed = trim(file[f"{case}.in"].numpy())
        assert [trimmed.start, trimmed.end] == file[f"{case}.index"].tolist(), case
        assert np.array_equal(trimmed.samples, file[f"{case}.out"].numpy()), case


@given(st.integers(0, 3000), st.integers(0, 6000), st.integers(0, 3000))
def test_length_and_place(lead: int, sound: int, rest: int) -> None:
    x = np.concatenate([np.zeros(lead), np.ones(sound), np.zeros(rest)]).astype(np.float32)
    trimmed = trim(x)
    assert len(trimmed.samples) == 240 * -(-(trimmed.end - trimmed.start) // 240) + 4320
    assert 0 <= trimmed.start <= trimmed.end <= len(x)
    assert trimmed.samples.sum() == sound
    if sound > 512:
        assert lead - 512 <= trimmed.start <= lead
        assert lead + sound <= trimmed.end <= min(len(x), lead + sound + 512)


def test_a_long_recording_is_measured_piece_by_piece() -> None:
    x = np.zeros(16_000 * 60, np.float32)
    x[700_000:700_500] = 0.5
    trimmed = trim(x)
    assert 700_000 - 512 <= trimmed.start <= 700_000
    assert 700_500 <= trimmed.end <= 701_012
