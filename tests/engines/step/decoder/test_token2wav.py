"""Whole utterances, offline and streaming, against the reference's numbers."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.tokens import dual_frames
from editx.engines.step.decoder.voice import VoicePrompt
from tests.engines.step.decoder.golden_decoder import NamedNoise, cases, close, decoder_of, is_large, snr_db
from tests.golden import Golden

SESSIONS = cases("decoder_token2wav")


def voice_of(decoder: TokenDecoder, golden: Golden) -> VoicePrompt:
    return decoder.voice(golden["prompt_mixed"].tolist(), golden["prompt_mel"], golden["embedding"])


def mel_tolerance(golden: Golden) -> float:
    return 1e-4 if is_large(golden) else 3e-5


def same_wave(ours: Tensor, golden: Tensor) -> None:
    close(ours, golden, 5e-3)
    assert snr_db(ours, golden) > 40


@pytest.mark.parametrize("golden", SESSIONS)
def test_offline(golden: Golden) -> None:
    decoder = decoder_of(golden)
    tokens, voice = golden["token_mixed"].tolist(), voice_of(decoder, golden)
    noise = NamedNoise(golden, golden.config.get("hift_noise_offline", ""))
    wave = decoder.offline(tokens, voice, noise=noise)
    assert len(wave) == 960 * -(-len(tokens) // 5) * 3
    if "offline.wav" in golden:
        same_wave(wave[None], golden["offline.wav"])
    if "offline.mel" in golden:
        close(decoder.offline_mel(tokens, voice, noise), golden["offline.mel"], mel_tolerance(golden))
    if "offline_bf16.mel" in golden:
        rounded = decoder_of(golden, rounded_prompt=True)
        mel = rounded.offline_mel(tokens, voice_of(rounded, golden), noise)
        close(mel, golden["offline_bf16.mel"], mel_tolerance(golden))


@pytest.mark.parametrize("golden", SESSIONS)
def test_streaming(golden: Golden) -> None:
    decoder = decoder_of(golden)
    noise = NamedNoise(golden, golden.config.get("hift_noise_stream", ""))
    tokens, push = golden["token_mixed"].tolist(), golden.config["push"]
    chunks: list[Tensor] = []
    calls: list[int] = []
    lengths: list[list[int]] = []
    mels: list[Tensor] = []
    with decoder.session(voice_of(decoder, golden), noise=noise) as session:
        for call, first in enumerate(range(0, len(tokens), push)):
            last = first + push >= len(tokens)
            new = session.push(tokens[first : first + push], last)
            calls += [call] * len(new)
            chunks += new
            if new and not last:
                state, waves = session._state, session._waves
                assert state is not None
                assert waves is not None
                lengths.append([state.estimator.length, state.encoder.up_keys[0].length])
                assert waves._mel is not None
                mels.append(waves._mel)
    assert calls == golden["stream.call_index"].tolist()
    assert [len(chunk) for chunk in chunks] == golden["stream.chunk_samples"].tolist()
    same_wave(torch.cat(chunks)[None], golden["stream.wav"])
    if "stream.cache_lens_after_chunk" in golden:
        assert lengths == golden["stream.cache_lens_after_chunk"].tolist()
    if "stream.hift_in_frames" in golden:
        assert noise.frames_in == golden["stream.hift_in_frames"].tolist()
    if "stream.mel" in golden:
        overlap, end = golden.config["mel_cache_len"], 0
        for chunk, mel in zip(noise.frames_in[:-1], mels, strict=True):
            end += chunk - (overlap if end else 0)
            close(mel, golden["stream.mel"][:, :, end - overlap : end], mel_tolerance(golden))


@pytest.mark.parametrize("golden", SESSIONS)
def test_streaming_mel(golden: Golden) -> None:
    """The flow's own chunks, with the noise taken at the length of its cache."""
    if "stream.mel" not in golden:
        assert "bigvgan" in golden.config
        return
    decoder = decoder_of(golden)
    flow, voice = decoder.flow, voice_of(decoder, golden)
    noise, mels = NamedNoise(golden, golden.config["hift_noise_stream"]), []
    dual = dual_frames(golden["token_mixed"].tolist())
    overlap = golden.config["mel_cache_len"]
    frames_in = golden["stream.hift_in_frames"].tolist()
    sizes = [(frames - (overlap if index else 0)) // 2 for index, frames in enumerate(frames_in)]
    with torch.inference_mode():
        entered = torch.cat([voice.entered_btd, flow.enter(dual[:3])], dim=1)
        state = flow.start(entered, voice.speaker_bc, voice.mel_btc, noise.flow(0, voice.mel_btc.shape[1]))
        position = 0
        for index, size in enumerate(sizes):
            last = index == len(sizes) - 1
            part = flow.enter(dual[position : position + size + (0 if last else 3)])
            drawn = noise.flow(state.estimator.length, 2 * size)
            mels.append(flow.chunk(state, part, voice.speaker_bc, drawn, last=last))
            position += size
    close(torch.cat(mels, dim=2), golden["stream.mel"], mel_tolerance(golden))
