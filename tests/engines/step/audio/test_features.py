"""Spectral features are the reference's."""

from __future__ import annotations

import pytest
import torch

from editx.engines.step.audio.fbank import BINS, fbank, frame_count
from editx.engines.step.audio.mel import kaldi_filters, slaney_filters
from editx.engines.step.audio.whisper_mel import whisper_log_mel
from tests import golden
from tests.engines.step.tokenizers.helpers import audio_of
from tests.golden import Golden


@pytest.mark.parametrize("file", golden.family("vq06_", holding="log_mel"), ids=repr)
def test_whisper_log_mel(file: Golden) -> None:
    out = whisper_log_mel(audio_of(file), len(file["log_mel"]))
    assert out.shape == file["log_mel"].shape
    assert (out - file["log_mel"]).abs().max() <= 1e-4


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_speaker_filter_bank(file: Golden) -> None:
    out = fbank(file["wav16"][0], "povey")
    assert (out - file["fbank_raw"]).abs().max() <= 5e-4
    assert (out - out.mean(0) - file["fbank"]).abs().max() <= 5e-4


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_slaney_filters(file: Golden) -> None:
    mel = file.config["mel"]
    filters = slaney_filters(mel["sampling_rate"], mel["n_fft"], mel["num_mels"], mel["fmin"], mel["fmax"])
    assert (filters.sum(1) - file["mel_basis_rowsum"]).abs().max() <= 1e-6


def test_kaldi_filters_overlap_by_half() -> None:
    filters = kaldi_filters()
    assert filters.shape == (80, 257)
    assert not filters[:, -1].any()
    assert torch.allclose(filters[:, 10:200].sum(0), torch.ones(190), atol=1e-5)


@pytest.mark.parametrize(("samples", "frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16000, 98)])
def test_frames_are_whole(samples: int, frames: int) -> None:
    assert frame_count(samples) == frames
    assert fbank(torch.ones(samples), "hamming").shape == (frames, BINS)
