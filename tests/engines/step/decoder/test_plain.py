"""Flow and vocoder against the plain ones that `bench/engine.py` measures them with."""

from __future__ import annotations

import torch
from bench.plain_decoder import PlainFlow, PlainHift

from editx.engines.step.decoder.noise import SeededNoise
from editx.engines.step.decoder.tokens import aligned, dual_frames
from editx.engines.step.synth.sizes import TINY
from tests.engines.step.decoder import small_decoder as small
from tests.engines.step.decoder.golden_decoder import close
from tests.engines.step.decoder.small_decoder import TOKENS, voice

CPU = torch.device("cpu")


def plain_flow() -> PlainFlow:
    return PlainFlow(small.states()[0], heads=TINY.flow.encoder.heads, guidance=TINY.flow.guidance)


@torch.inference_mode()
def test_the_flow_offline() -> None:
    prompt, mel, embedding = small.prompt()
    dual_prompt, dual = dual_frames(prompt), dual_frames(TOKENS)
    drawn = SeededNoise(1, CPU)
    noise = drawn.flow(0, 2 * (len(dual_prompt) + len(dual)))
    expected = plain_flow().offline(dual_prompt, dual, aligned(mel, 2 * len(dual_prompt)), embedding, noise)
    decoder = small.shared()
    close(decoder.offline_mel(TOKENS, voice(decoder), drawn), expected, 3e-5)


@torch.inference_mode()
def test_the_flow_in_chunks() -> None:
    prompt, mel, embedding = small.prompt()
    dual_prompt, dual = dual_frames(prompt), dual_frames(TOKENS)
    flow, handle, drawn = small.shared().flow, voice(small.shared()), SeededNoise(1, CPU)
    plain, frames = plain_flow(), 2 * len(dual_prompt)
    noise = drawn.flow(0, frames)
    begun = torch.cat([dual_prompt, dual[:3]])
    caches = plain.start(begun, aligned(mel, frames), embedding, noise)
    state = flow.start(
        torch.cat([handle.entered_btd, flow.enter(dual[:3])], 1), handle.speaker_bc, handle.mel_btc, noise
    )
    position = 0
    for size in (15, 24, 48, 48, len(dual) - 135):
        last = position + size == len(dual)
        part = dual[position : position + size + (0 if last else 3)]
        noise = drawn.flow(state.estimator.length, 2 * size)
        expected = plain.chunk(caches, part, embedding, noise, frames, last=last)
        close(flow.chunk(state, flow.enter(part), handle.speaker_bc, noise, last=last), expected, 3e-5)
        position += size
    assert position == len(dual)


@torch.inference_mode()
def test_the_vocoder() -> None:
    random = torch.Generator().manual_seed(4)
    mel, noise = (torch.randn(shape, generator=random) for shape in ((1, 80, 60), (1, 60 * 480, 9)))
    wave, source = PlainHift(small.states()[1])(mel, noise)
    mine, my_source = small.shared().vocoder(mel, noise)
    close(my_source, source, 1e-4)
    close(mine, wave, 1e-3)
