"""Every option of the decoder, on against off, and the precision it is served in."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache

import pytest
import torch

from editx.engines.step.decoder.config import BigVGANConfig
from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.noise import SeededNoise
from editx.engines.step.decoder.options import SPEED_SWITCHES, DecoderOptions, plain
from editx.engines.step.decoder.precision import Precision
from editx.errors import InvalidRequest
from tests.engines.step.decoder import small_decoder as small
from tests.engines.step.decoder.golden_decoder import close, snr_db
from tests.engines.step.decoder.small_decoder import TOKENS, streamed, voice

CPU = torch.device("cpu")
SOME = TOKENS[:104]


def mel(decoder: TokenDecoder) -> torch.Tensor:
    return decoder.offline_mel(SOME, voice(decoder), SeededNoise(3, CPU))


@lru_cache(maxsize=1)
def expected() -> tuple[torch.Tensor, torch.Tensor]:
    return mel(small.shared()), torch.cat(streamed(small.shared(), SOME))


@pytest.mark.parametrize("switch", [*SPEED_SWITCHES, "all"])
def test_no_optimisation_changes_the_result(switch: str) -> None:
    options = plain() if switch == "all" else replace(DecoderOptions(), **{switch: False})
    decoder = small.decoder(options)
    whole, chunks = expected()
    close(mel(decoder), whole, 3e-5)
    found = torch.cat(streamed(decoder, SOME))
    close(found, chunks, 5e-3)
    assert snr_db(found, chunks) > 60


def test_every_switch_is_listed() -> None:
    off = plain()
    named = {name for name in DecoderOptions.__slots__ if getattr(off, name) is False}
    assert named == {*SPEED_SWITCHES, "latest_context", "rounded_prompt"}


def test_rounding_the_prompt_is_another_voice() -> None:
    rounded = small.decoder(replace(DecoderOptions(), rounded_prompt=True))
    tokens, frames, embedding = small.prompt()
    by_hand = small.shared().voice(tokens, frames.bfloat16().float(), embedding.bfloat16().float())
    assert torch.equal(voice(rounded).mel_btc, by_hand.mel_btc)
    assert torch.equal(voice(rounded).speaker_bc, by_hand.speaker_bc)
    assert not torch.equal(voice(rounded).mel_btc, voice(small.shared()).mel_btc)


def test_the_kept_context_only_counts_once_it_is_full() -> None:
    """96 mel frames are two chunks; what is kept of more is a choice, which changes the sound after them only."""
    latest = small.decoder(replace(DecoderOptions(), latest_context=True, context_frames=30))
    first = small.decoder(replace(DecoderOptions(), context_frames=30))
    one, other = streamed(latest, TOKENS), streamed(first, TOKENS)
    assert [len(chunk) for chunk in one] == [len(chunk) for chunk in other]
    assert torch.equal(one[0], other[0])
    assert not torch.equal(one[-1], other[-1])


def test_a_prompt_that_is_too_long_is_refused() -> None:
    short = small.decoder(replace(DecoderOptions(), max_prompt_frames=20))
    with pytest.raises(InvalidRequest, match=r"0\.5 s; expected at most 0\.4 s") as raised:
        voice(short)
    assert raised.value.param == "prompt"


def test_voices_are_kept() -> None:
    assert voice(small.shared()) is voice(small.shared())
    forgetful = small.decoder(replace(DecoderOptions(), cached_voices=0))
    assert voice(forgetful) is not voice(forgetful)


def test_a_bfloat16_flow_stays_near() -> None:
    """As it is served on CUDA: the flow in bfloat16, the vocoder in fp32."""
    assert Precision.fast(CPU) == Precision.reference() == Precision()
    served = Precision.fast(torch.device("cuda"))
    assert served == Precision(flow=torch.bfloat16)
    half = small.decoder(precision=served)
    whole, chunks = expected()
    found = mel(half)
    assert found.dtype == torch.float32
    assert (found - whole).abs().max() < 0.15
    assert snr_db(found, whole) > 35
    made = streamed(half, SOME)
    assert sum(map(len, made)) == len(chunks)
    assert torch.cat(made).isfinite().all()
    session = half.session(voice(half), 1)
    session.push(SOME)
    whole_session = small.shared().session(voice(small.shared()), 1)
    whole_session.push(SOME)
    assert 2 * session.buffer_bytes == whole_session.buffer_bytes


def test_chunks_are_of_whole_groups() -> None:
    odd = small.decoder(replace(DecoderOptions(), chunk_frames=(17, 25, 50)))
    assert torch.equal(torch.cat(streamed(odd, SOME)), expected()[1])
    with pytest.raises(InvalidRequest, match="from 3 on"):
        DecoderOptions(chunk_frames=(15, 2))
    with pytest.raises(InvalidRequest, match="the 6 mel frames of the smallest chunk"):
        DecoderOptions(chunk_frames=(5,))


def test_how_far_chunks_overlap_is_the_vocoders_affair() -> None:
    for frames in (1, 6):
        options = DecoderOptions(mel_overlap_frames=frames)
        found = streamed(small.decoder(options), SOME)
        assert [len(chunk) for chunk in found[:2]] == [480 * (30 - frames), 480 * 48]
        assert sum(map(len, found)) == len(expected()[1])
        with pytest.raises(InvalidRequest, match="expected over 6 with BigVGAN") as raised:
            TokenDecoder.load(replace(small.CONFIG, vocoder=BigVGANConfig()), {}, {}, device="cpu", options=options)
        assert raised.value.param == "mel_overlap_frames"
    with pytest.raises(InvalidRequest, match="expected over 0"):
        DecoderOptions(mel_overlap_frames=0)
