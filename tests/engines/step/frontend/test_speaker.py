"""A voice is described once per recording."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from editx.audio.clip import Clip
from editx.engines.step.audio.cache import ResultCache
from editx.engines.step.decoder.config import MelConfig
from editx.engines.step.frontend.mel import prompt_mel
from editx.engines.step.frontend.speaker import SpeakerFrontend
from editx.errors import InvalidRequest
from tests import golden
from tests.engines.step.frontend.helpers import campplus
from tests.engines.step.tokenizers.helpers import sound
from tests.golden import Golden


def frontend(*, cached: bool = True, salt: str = "") -> SpeakerFrontend:
    return SpeakerFrontend(campplus(salt), MelConfig(), None if cached else ResultCache(0))


def clip(name: str = "voice", rate: int = 24_000) -> Clip:
    return Clip(sound(name, rate).numpy(), rate)


@pytest.mark.parametrize("file", golden.family("decoder_frontends"), ids=repr)
def test_mel_and_embedding_come_from_the_untrimmed_wave(file: Golden) -> None:
    wave = file["wav24"][0]
    quiet = wave / max(1.0, float(wave.abs().max()) / 0.59)
    prompt = frontend(salt=file.salt).describe(Clip(quiet.numpy(), 24_000))
    assert torch.equal(prompt.mel_btf, prompt_mel(quiet, MelConfig(**file.config["mel"])))
    if float(wave.abs().max()) <= 0.6:
        assert (prompt.mel_btf - file["mel24"]).abs().max() <= 1e-4
        assert (prompt.embedding_bc - file["campplus.emb_short"]).abs().max() <= 1e-5
    assert (frontend(salt=file.salt).embed(file["wav16"][0]) - file["campplus.emb_short"]).abs().max() <= 1e-5


def test_the_second_time_costs_nothing_and_gives_the_same() -> None:
    kept, off = frontend(), frontend(cached=False)
    first = kept.describe(clip())
    assert kept.describe(clip()) is first
    again = off.describe(clip())
    assert torch.equal(again.mel_btf, first.mel_btf)
    assert torch.equal(again.embedding_bc, first.embedding_bc)
    assert off.describe(clip()) is not again
    assert kept.describe(clip("somebody else")) is not first
    assert kept.cache.bytes_held == 2 * first.nbytes


def test_loudness_is_capped() -> None:
    loud = Clip(np.clip(clip().samples * 20, -1, 1), 24_000)
    capped = Clip((loud.samples / np.abs(loud.samples).max()) * np.float32(0.6), 24_000)
    a, b = frontend().describe(loud), frontend().describe(capped)
    assert torch.equal(a.mel_btf, b.mel_btf)
    assert torch.equal(a.embedding_bc, b.embedding_bc)


@pytest.mark.parametrize("rate", [8_000, 16_000, 22_050, 44_100, 48_000])
def test_any_rate(rate: int) -> None:
    prompt = frontend().describe(clip("rates", rate))
    assert prompt.mel_btf.shape == (1, 50, 80)
    assert prompt.embedding_bc.shape == (1, 192)
    assert prompt.embedding_bc.isfinite().all()


def test_the_shortest_clip_has_an_embedding() -> None:
    prompt = frontend().describe(Clip(clip().samples[:2400], 24_000))
    assert prompt.mel_btf.shape == (1, 5, 80)
    assert prompt.embedding_bc.isfinite().all()


def test_silence_and_scraps_are_refused() -> None:
    for samples in (np.zeros(24_000, np.float32), np.ones(2000, np.float32), np.zeros(0, np.float32)):
        with pytest.raises(InvalidRequest):
            frontend().describe(Clip(samples, 24_000))


def test_results_can_feed_a_network_that_records() -> None:
    """Not made under inference mode, so that callers may use them however they like."""
    prompt = frontend().describe(clip())
    weight = torch.ones(192, requires_grad=True)
    (prompt.embedding_bc * weight).sum().backward()
    assert weight.grad is not None


def test_many_threads_agree() -> None:
    kept = frontend()
    expected = frontend(cached=False).describe(clip())
    with ThreadPoolExecutor(4) as pool:
        for found in pool.map(lambda _: kept.describe(clip()), range(8)):
            assert torch.equal(found.mel_btf, expected.mel_btf)
            assert torch.equal(found.embedding_bc, expected.embedding_bc)
