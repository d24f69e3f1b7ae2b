"""Both vocoders against the reference's numbers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.decoder.bigvgan import EDGE_FRAMES, AntiAliased, BigVGAN
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.decoder.options import DecoderOptions, plain
from tests.engines.step.decoder.golden_decoder import (
    CPU,
    bigvgan_config,
    bigvgan_weights,
    cases,
    close,
    hift_config,
    hift_weights,
)
from tests.golden import Golden, normal


@pytest.fixture(autouse=True)
def _inference() -> object:
    with torch.inference_mode():
        yield


def hift_of(golden: Golden, *, loud: bool = False, options: DecoderOptions | None = None) -> Hift:
    config = hift_config(golden.config["hift"])
    return Hift.load(config, hift_weights(config, golden.salt, loud=loud), device=CPU, options=options)


def noise(golden: Golden, kind: str, frames: int) -> Tensor:
    return torch.from_numpy(normal(f"{golden.config['tag']}/{golden.path.stem}/{kind}/0", (1, 480 * frames, 9)))


@pytest.mark.parametrize("golden", cases("decoder_hift"))
def test_f0_and_source(golden: Golden) -> None:
    hift = hift_of(golden)
    close(hift.f0(golden["mel"]), golden["f0"], 1e-2)
    contour = golden["src.f0"]
    # The reference sums phases in fp32, which drift: against fp64 by 7e-4 in 12 frames, 6e-3 in 100, 2.6e-2 in 400.
    close(hift.m_source.sines(contour)[:, ::7], golden["src.sine"], max(5e-3, 1e-4 * contour.shape[1]))
    assert torch.equal(hift.m_source.voiced(contour)[:, None], golden["src.uv"])
    close(hift.m_source(contour, noise(golden, "srcnoise", contour.shape[1])), golden["src.merged"], 2e-3)


@pytest.mark.parametrize("golden", cases("decoder_hift"))
def test_mel_to_wave(golden: Golden) -> None:
    hift, mel = hift_of(golden), golden["mel"]
    drawn = noise(golden, "noise", mel.shape[2])
    wave, source = hift(mel, drawn)
    close(source, golden["source"], 2e-3)
    close(wave, golden["wav"], 5e-3)
    close(hift.decode(mel, golden["source"]), golden["wav_from_source"], 1e-4)
    spectrum = hift.spectrum.analyse(golden["source"][0])
    close(spectrum[:, :, : golden["source_stft"].shape[2]], golden["source_stft"], 1e-4)
    before = hift.before_synthesis(mel, golden["source"])
    close(before[:, :, : golden["pre_istft"].shape[2]], golden["pre_istft"], 1e-4)
    cached, source = hift(mel, drawn, golden["cache_source"])
    close(cached, golden["wav_cached_source"], 5e-3)
    close(source[:, :, : golden["cache_source"].shape[2]], golden["cache_source"], 0)


@pytest.mark.parametrize("golden", cases("decoder_hift"))
def test_loud_waves_are_clamped(golden: Golden) -> None:
    wave = hift_of(golden, loud=True).decode(golden["mel"], golden["source"])
    close(wave, golden["wav_loud"], 1e-4)
    assert wave.abs().max() == pytest.approx(0.99)


@pytest.mark.parametrize("golden", cases("decoder_hift"))
@pytest.mark.parametrize("switch", ["fused_snake", "half_rate_convs", "packed_weights", "all"])
def test_no_optimisation_changes_the_wave(golden: Golden, switch: str) -> None:
    mel, source = golden["mel"], golden["source"]
    options = plain() if switch == "all" else replace(DecoderOptions(), **{switch: False})
    wave = hift_of(golden, options=options).decode(mel, source)
    close(wave, hift_of(golden).decode(mel, source), 1e-5)
    close(wave, golden["wav_from_source"], 1e-4)


@pytest.mark.parametrize("golden", cases("decoder_hift"))
def test_a_batch_of_equal_lengths_is_exact(golden: Golden) -> None:
    hift, mel, source = hift_of(golden), golden["mel"], golden["source"]
    wave = hift.decode(torch.cat([mel, mel.flip(2)]), torch.cat([source, source.flip(2)]))
    close(wave[:1], hift.decode(mel, source), 1e-5)
    close(wave[1:], hift.decode(mel.flip(2), source.flip(2)), 1e-5)


def bigvgan_of(golden: Golden) -> BigVGAN:
    config = bigvgan_config(golden.config["bigvgan"])
    return BigVGAN.load(config, bigvgan_weights(config, golden.salt), device=CPU)


@pytest.mark.parametrize("golden", cases("decoder_bigvgan"))
def test_bigvgan(golden: Golden) -> None:
    vocoder = bigvgan_of(golden)
    first = vocoder.resblocks[0].activations[0]
    assert isinstance(first, AntiAliased)
    close(first.filter.flatten(), golden["filter"], 1e-7)
    close(first.filter.flatten(), golden["filter_down"], 1e-7)
    close(first(golden["act_in"]), golden["act_out"], 3e-5)
    padded = F.pad(golden["mel"], (EDGE_FRAMES, EDGE_FRAMES), mode="reflect")
    close(padded, golden["mel_padded"], 0)
    close(vocoder(padded)[:, None], golden["wav"], 3e-5)
