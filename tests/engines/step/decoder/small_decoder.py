"""A small decoder with seeded weights, for what needs no golden numbers."""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from editx.engines.step.decoder.config import DecoderConfig, MelConfig
from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.decoder.precision import Precision
from editx.engines.step.decoder.voice import VoicePrompt
from editx.engines.step.synth.decoder import flow_weights, vocoder_weights
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import TINY

CONFIG = DecoderConfig(MelConfig(), TINY.flow, TINY.vocoder)
PROMPT = [5, 900, 1024, 3000, 5119] * 4
TOKENS = ([1, 2, 2000, 3000, 4000, 77, 300, 1500, 5000, 1024] * 29)[:283]
"""So many that a session has chunks of every size, and that the last group is not full."""


@lru_cache(maxsize=1)
def states() -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """What `flow.pt` and `hift.pt` hold."""
    return flow_weights(TINY.flow, Noise(0)), vocoder_weights(TINY.vocoder, Noise(0))


@lru_cache(maxsize=1)
def shared() -> TokenDecoder:
    """One with everything on, for tests that only use it."""
    return decoder()


def decoder(options: DecoderOptions | None = None, precision: Precision | None = None) -> TokenDecoder:
    flow, vocoder = states()
    return TokenDecoder.load(CONFIG, flow, vocoder, device="cpu", precision=precision, options=options)


def prompt() -> tuple[list[int], Tensor, Tensor]:
    """Tokens, mel (1, 24, 80) and speaker embedding (1, 192) of a voice."""
    random = torch.Generator().manual_seed(1)
    return PROMPT, torch.randn(1, 24, 80, generator=random), torch.randn(1, 192, generator=random)


def voice(of: TokenDecoder) -> VoicePrompt:
    return of.voice(*prompt())


def streamed(of: TokenDecoder, tokens: list[int], seed: int = 1, push: int | None = None) -> list[Tensor]:
    """The chunks of one session, `push` tokens at a time, or all at once."""
    chunks: list[Tensor] = []
    size = push or max(1, len(tokens))
    with of.session(voice(of), seed) as session:
        for first in range(0, max(1, len(tokens)), size):
            chunks += session.push(tokens[first : first + size], last=first + size >= len(tokens))
        assert session.closed
    return chunks
