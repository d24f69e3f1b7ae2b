"""The hashed speaker names of the first release."""

from __future__ import annotations

import numpy as np
import pytest

from editx.engines.step.text.speaker import speaker_id
from tests import golden


@pytest.mark.parametrize("case", golden.family("speaker_wave"), ids=repr)
def test_names(case: golden.Golden) -> None:
    assert speaker_id(case.metadata["text"], case["wave"].numpy()) == case.metadata["id"]


def test_only_the_edges_of_a_long_wave_count() -> None:
    wave = np.arange(5000, dtype=np.float32)
    middle, edge = wave.copy(), wave.copy()
    middle[2500] = 0.5
    edge[4000] = 0.5
    assert speaker_id("a", middle) == speaker_id("a", wave) != speaker_id("a", edge)


def test_channels_follow_one_another() -> None:
    wave = np.arange(20, dtype=np.float32).reshape(2, 10)
    assert speaker_id("a", wave) == speaker_id("a", wave.reshape(-1)) != speaker_id("a", wave.T)
