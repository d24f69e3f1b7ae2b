from __future__ import annotations

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.voices import inspect
from tests.audio.sounds import speech_like


def with_samples(change) -> Clip:
    clip = speech_like(6.0)
    return Clip(change(clip.samples).astype(np.float32), clip.rate)


def test_good_speech_has_no_warning() -> None:
    assert inspect(speech_like(6.0)) == []
    assert inspect(speech_like(6.0, 48_000, f0=220)) == []


@pytest.mark.parametrize(
    ("clip", "words"),
    [
        (speech_like(1.0), "1.0 s long"),
        (speech_like(40.0), "40.0 s long"),
        (with_samples(lambda samples: np.clip(samples * 20, -1, 1)), "clipped"),
        (with_samples(lambda samples: samples * 0.005), "very quiet"),
        (with_samples(lambda samples: np.concatenate([samples, np.zeros(15 * 24_000)])), "silence"),
    ],
)
def test_each_fault_is_named_alone(clip: Clip, words: str) -> None:
    (warning,) = inspect(clip)
    assert words in warning


def test_one_peak_at_full_scale_is_no_clipping() -> None:
    def peak(samples: np.ndarray) -> np.ndarray:
        return samples / np.abs(samples).max()

    assert inspect(with_samples(peak)) == []


def test_a_clip_of_nothing_is_only_too_short() -> None:
    (warning,) = inspect(Clip(np.zeros(0, np.float32), 24_000))
    assert "0.0 s long" in warning
