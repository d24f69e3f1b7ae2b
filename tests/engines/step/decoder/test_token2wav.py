"""Whole utterances, offline and streaming, against the reference's numbers."""

from __future__ import annotations

from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.noise import SeededNoise
from editx.engines.step.decoder.tokens import dual_length
from editx.engines.step.decoder.voice import VoicePrompt
from tests.engines.step.decoder import policies
from tests.engines.step.decoder import small_decoder as small
from tests.engines.step.decoder.golden_decoder import CPU, NamedNoise, cases, close, decoder_of, is_large, snr_db
from tests.engines.step.decoder.policies import Part, Take, rendered
from tests.golden import Golden

SESSIONS = cases("decoder_token2wav", holding="stream.")


def voice_of(decoder: TokenDecoder, golden: Golden) -> VoicePrompt:
    return decoder.voice(golden["prompt_mixed"].tolist(), golden["prompt_mel"], golden["embedding"])


def mel_tolerance(golden: Golden) -> float:
    return 1e-4 if is_large(golden) else 3e-5


def same_wave(ours: Tensor, golden: Tensor) -> None:
    close(ours, golden, 5e-3)
    assert snr_db(ours, golden) > 40


def takes_of(golden: Golden) -> tuple[list[Take], list[Take]]:
    """By the reference's rule and by ours. They part where a push brings more than one chunk."""
    asked = len(golden["token_mixed"]), golden.config["chunk_size_list"], golden.config["push"]
    return policies.reference(*asked), policies.ours(*asked)


def stream_noise(golden: Golden) -> NamedNoise:
    return NamedNoise(golden, golden.config.get("hift_noise_stream", ""))


@pytest.mark.parametrize("golden", cases("decoder_token2wav", holding="offline"))
def test_offline(golden: Golden) -> None:
    decoder = decoder_of(golden)
    tokens, voice = golden["token_mixed"].tolist(), voice_of(decoder, golden)
    noise = NamedNoise(golden, golden.config.get("hift_noise_offline", ""))
    if "offline.wav" in golden:
        wave = decoder.offline(tokens, voice, noise=noise)
        assert len(wave) == 960 * dual_length(len(tokens))
        same_wave(wave[None], golden["offline.wav"])
    if "offline.mel" in golden:
        close(decoder.offline_mel(tokens, voice, noise), golden["offline.mel"], mel_tolerance(golden))
    if "offline_bf16.mel" in golden:
        rounded = decoder_of(golden, rounded_prompt=True)
        mel = rounded.offline_mel(tokens, voice_of(rounded, golden), noise)
        close(mel, golden["offline_bf16.mel"], mel_tolerance(golden))


@pytest.mark.parametrize("golden", SESSIONS)
def test_chunks(golden: Golden) -> None:
    """The chunks that the reference made, whatever ours would have made of the same pushes."""
    takes, _ = takes_of(golden)
    assert [take.call for take in takes] == golden["stream.call_index"].tolist()
    decoder, noise = decoder_of(golden), stream_noise(golden)
    parts = rendered(decoder, voice_of(decoder, golden), golden["token_mixed"].tolist(), takes, noise)
    assert [len(part.wave) for part in parts] == golden["stream.chunk_samples"].tolist()
    same_wave(torch.cat([part.wave for part in parts])[None], golden["stream.wav"])
    if "stream.hift_in_frames" in golden:
        assert noise.frames_in == golden["stream.hift_in_frames"].tolist()
    if "stream.mel" in golden:
        close(torch.cat([part.mel for part in parts], dim=2), golden["stream.mel"], mel_tolerance(golden))
    if "stream.cache_lens_after_chunk" in golden:
        assert [part.lengths for part in parts[:-1]] == golden["stream.cache_lens_after_chunk"].tolist()


@pytest.mark.parametrize("golden", SESSIONS)
def test_session(golden: Golden) -> None:
    """A session makes the reference's chunks, where both rules cut alike; else those of ours, as long together."""
    theirs, takes = takes_of(golden)
    decoder, tokens, push = decoder_of(golden), golden["token_mixed"].tolist(), golden.config["push"]
    voice, alike = voice_of(decoder, golden), theirs == takes
    noise, again = (stream_noise(golden) if alike else SeededNoise(0, CPU) for _ in range(2))
    found = streamed(decoder, voice, tokens, push, noise)
    same_parts(found, takes, rendered(decoder, voice, tokens, takes, again))
    wave = torch.cat([chunk.wave for chunk in found])
    assert wave[None].shape == golden["stream.wav"].shape
    if not alike:
        return
    assert isinstance(noise, NamedNoise)
    assert [chunk.call for chunk in found] == golden["stream.call_index"].tolist()
    assert [len(chunk.wave) for chunk in found] == golden["stream.chunk_samples"].tolist()
    same_wave(wave[None], golden["stream.wav"])
    if "stream.cache_lens_after_chunk" in golden:
        assert [chunk.lengths for chunk in found[:-1]] == golden["stream.cache_lens_after_chunk"].tolist()
    if "stream.hift_in_frames" in golden:
        assert noise.frames_in == golden["stream.hift_in_frames"].tolist()


class Chunk(NamedTuple):
    """The number of its push, its samples, and the lengths of the caches after it unless it is the last."""

    call: int
    wave: Tensor
    lengths: list[int] | None


def streamed(
    decoder: TokenDecoder, voice: VoicePrompt, tokens: list[int], push: int, noise: SeededNoise | NamedNoise
) -> list[Chunk]:
    """The chunks of a session, `push` tokens at a time."""
    found = []
    with decoder.session(voice, noise=noise) as session:
        for call, first in enumerate(range(0, len(tokens), push)):
            for chunk in session.stream(tokens[first : first + push], first + push >= len(tokens)):
                state = session._state
                lengths = [state.estimator.length, state.encoder.up_keys[0].length] if state else None
                found.append(Chunk(call, chunk, lengths))
    return found


def same_parts(found: list[Chunk], takes: list[Take], parts: list[Part]) -> None:
    assert [chunk.call for chunk in found] == [take.call for take in takes]
    for chunk, part in zip(found, parts, strict=True):
        close(chunk.wave, part.wave, 1e-5)
    assert [chunk.lengths for chunk in found] == [*(part.lengths for part in parts[:-1]), None]


@pytest.mark.parametrize(("push", "part"), [(1, False), (7, False), (40, True), (140, True)])
def test_where_the_rules_part(push: int, part: bool) -> None:
    """Pushes of more than one chunk: the reference gives one of them at a time, and at last all that is left."""
    decoder, tokens = small.shared(), small.TOKENS[:140]
    asked = len(tokens), decoder.options.chunk_frames, push
    theirs, takes = policies.reference(*asked), policies.ours(*asked)
    assert (theirs != takes) == part
    found = streamed(decoder, small.voice(decoder), tokens, push, SeededNoise(0, CPU))
    same_parts(found, takes, rendered(decoder, small.voice(decoder), tokens, takes, SeededNoise(0, CPU)))
    assert sum(len(chunk.wave) for chunk in found) == 960 * dual_length(len(tokens))


def test_the_rule_of_the_reference() -> None:
    """Spec 70 §8: 100 tokens at a time give nothing, 10 560 samples, 23 040, then all that is left."""
    takes = policies.reference(430, (15, 24, 48), 100)
    assert [(take.call, take.start, take.stop) for take in takes] == [
        (1, 0, 30),
        (2, 25, 70),
        (3, 65, 150),
        (4, 145, 430),
    ]
    assert policies.reference(100, (15, 24, 48), 100) == []
