"""Which push of a session gives which chunk, by the reference's rule and by ours, out of numbers of tokens alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.noise import Noise
from editx.engines.step.decoder.tokens import FRAMES_PER_GROUP, GROUP, dual_frames, mixed_length
from editx.engines.step.decoder.voice import VoicePrompt
from editx.engines.step.decoder.wave_stream import WaveStream


class Take(NamedTuple):
    """The tokens `start` to `stop` of the utterance, lookahead included, that push number `call` makes a chunk of."""

    call: int
    start: int
    stop: int
    last: bool


def pushes(tokens: int, push: int) -> Iterator[tuple[int, int, bool]]:
    """Number, tokens so far and whether it is the last, of each push."""
    for call, first in enumerate(range(0, tokens, push)):
        yield call, min(tokens, first + push), first + push >= tokens


def reference(tokens: int, sizes: Sequence[int], push: int) -> list[Take]:
    """Spec 70 §4: the push that sets up gives nothing, any other one chunk at most."""
    left, start, ready, found = list(sizes), 0, False, []
    for call, stop, last in pushes(tokens, push):
        if not ready:
            ready = stop >= GROUP
            continue
        size = mixed_length(left[0])
        if last:
            found.append(Take(call, start, stop, True))
        elif stop - start >= size + GROUP:
            found.append(Take(call, start, start + size + GROUP, False))
            start += size
        else:
            continue
        if len(left) > 1:
            del left[0]
    return found


def ours(tokens: int, sizes: Sequence[int], push: int) -> list[Take]:
    """Spec 70 §6: as if the tokens came one by one."""
    left, start, found = list(sizes), 0, []
    for call, stop, last in pushes(tokens, push):
        while stop - start >= mixed_length(left[0]) + GROUP + last:
            found.append(Take(call, start, start + mixed_length(left[0]) + GROUP, False))
            start += mixed_length(left[0])
            if len(left) > 1:
                del left[0]
        if last:
            found.append(Take(call, start, stop, True))
    return found


class Part(NamedTuple):
    """What a chunk gave: mel (1, 80, frames), samples, and the lengths of the caches after it (spec 70 §9)."""

    mel: Tensor
    wave: Tensor
    lengths: list[int]


@torch.inference_mode()
def rendered(
    decoder: TokenDecoder, voice: VoicePrompt, tokens: Sequence[int], takes: Iterable[Take], noise: Noise
) -> list[Part]:
    """The chunks of `takes`, from the flow and the vocoder themselves."""
    flow, waves = decoder.flow, WaveStream(decoder.vocoder, noise, decoder.options.mel_overlap_frames)
    entered = torch.cat([voice.entered_btd, flow.enter(dual_frames(tokens[:GROUP]))], dim=1)
    state = flow.start(entered, voice.speaker_bc, voice.mel_btc, noise.flow(0, voice.mel_btc.shape[1]))
    parts = []
    for take in takes:
        dual = dual_frames(tokens[take.start : take.stop])
        frames = len(dual) - (0 if take.last else FRAMES_PER_GROUP)
        drawn = noise.flow(state.estimator.length, 2 * frames)
        mel = flow.chunk(state, flow.enter(dual), voice.speaker_bc, drawn, last=take.last)
        wave = waves.render(mel, last=take.last).clone()
        parts.append(Part(mel, wave, [state.estimator.length, state.encoder.up_keys[0].length]))
    return parts
