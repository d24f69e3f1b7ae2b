"""A clip is prepared as the reference prepares it."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from editx.audio.clip import Clip
from editx.engines.step.audio.resample import resample
from editx.engines.step.audio.trim import trim
from editx.engines.step.audio.waveform import cap_peak, capped, normalise_level, prepare, to_mono
from editx.errors import InvalidRequest, TooLarge
from tests import golden
from tests.golden import Golden


@pytest.mark.parametrize("file", golden.family("audio_preprocess"), ids=repr)
def test_whole_preparation(file: Golden) -> None:
    clip = Clip(file["input"].numpy(), int(file.metadata["sample_rate"]))
    resampled = resample(capped(clip), clip.rate, 16000)
    assert (resampled - file["resampled_16k"]).abs().max() <= 2e-6
    prepared = prepare(clip)
    expected = file["preprocessed"].numpy()
    assert prepared.samples.shape == expected.shape
    assert np.abs(prepared.samples - expected).max() <= 2e-6
    start, end = file["trim_index"].tolist()
    trimmed = trim(normalise_level(resampled.numpy()))
    assert (trimmed.start, trimmed.end) == (start, end)
    assert prepared.seconds == (end - start) / 16000


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_mono_and_peak(file: Golden) -> None:
    assert torch.equal(cap_peak(to_mono(file["stereo"])), file["stereo_norm"])


def test_capping_again_changes_nothing() -> None:
    once = cap_peak(torch.from_numpy(golden.normal("loud", (5000,))))
    assert once.abs().max() <= 0.6000001
    assert torch.equal(cap_peak(once), once)
    quiet = once * 0.1
    assert cap_peak(quiet) is quiet


def test_level_does_not_matter_behind_the_preparation() -> None:
    x = golden.normal("level", (8000,)) * np.float32(0.05)
    a, b = prepare(Clip(x, 16000)), prepare(Clip(x * np.float32(4), 16000))
    assert np.allclose(a.samples, b.samples, atol=1e-6)
    assert np.abs(a.samples).max() == pytest.approx(0.999, abs=1e-5)
    assert np.array_equal(normalise_level(np.zeros(3, np.float32)), np.zeros(3, np.float32))


def test_the_clip_is_left_alone() -> None:
    x = golden.normal("left alone", (8000,))
    kept = x.copy()
    prepare(Clip(x, 16000))
    assert np.array_equal(x, kept)


def test_what_cannot_be_heard_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"0\.050 s long; give at least 0\.1 s"):
        prepare(Clip(np.ones(800, np.float32), 16000))
    with pytest.raises(InvalidRequest, match="silent"):
        prepare(Clip(np.zeros(16000, np.float32), 16000))
    with pytest.raises(TooLarge, match="601 s long and at most 600 s"):
        prepare(Clip(np.ones(601 * 8000, np.float32), 8000))
    with pytest.raises(InvalidRequest, match="sample rate of 100 Hz"):
        prepare(Clip(np.ones(1000, np.float32), 100))
