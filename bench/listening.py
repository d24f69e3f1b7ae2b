"""What it costs to hear a recording: both audio tokenizers, the speaker embedding and the prompt's mel."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from bench.machine import Machine
from bench.plain_tokenizer import PlainLinguisticEncoder, PlainSemanticEncoder
from bench.row import Row
from torch.utils.flop_counter import FlopCounterMode

from editx.engines.step.audio.whisper_mel import whisper_log_mel
from editx.engines.step.decoder import MelConfig
from editx.engines.step.frontend.campplus import CamPlus
from editx.engines.step.frontend.mel import prompt_mel
from editx.engines.step.frontend.speaker import SPEAKER_RATE, SpeakerFrontend
from editx.engines.step.synth.audio_tokenizers import linguistic_shapes
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import Sizes
from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer
from editx.engines.step.tokenizers.linguistic_features import Cmvn
from editx.engines.step.tokenizers.sanm import LinguisticNetwork
from editx.engines.step.tokenizers.semantic import SemanticTokenizer
from editx.engines.step.tokenizers.semantic_network import SemanticNetwork

CODES_A_SECOND = 1 / 0.06
RATE = 16_000


def linguistic(machine: Machine, sizes: Sizes, lengths: Sequence[float]) -> Iterator[Row]:
    """The linguistic encoder on so many seconds of sound."""
    noise, config = Noise(0), sizes.linguistic
    state = {name: noise.weight(name, shape) for name, shape in linguistic_shapes(config).items()}
    state = {name: tensor.to(machine.device) for name, tensor in state.items()}
    network = LinguisticNetwork(config).to(machine.device)
    network.load_state_dict(state)
    cmvn = Cmvn(torch.zeros(560), torch.ones(560))
    codebook = noise.weight("linguistic_tokenizer", (1024, config.output_size))
    tokenizer = LinguisticTokenizer(network.eval(), cmvn, codebook)
    plain = PlainLinguisticEncoder(state, config.attention_heads)
    for seconds in lengths:
        rows = torch.randn(round(seconds * CODES_A_SECOND), 560, device=machine.device)
        yield machine.compare(
            f"linguistic tokenizer, {seconds:g} s",
            lambda rows=rows: tokenizer.hidden([rows]),
            lambda rows=rows: plain.encode(rows),
            atol=1e-3,
            rtol=1e-3,
            audio=seconds,
        )


def semantic(machine: Machine, sizes: Sizes, lengths: Sequence[float]) -> Iterator[Row]:
    """The semantic encoder on so many seconds of sound, at most one part of 30 s."""
    noise, config = Noise(0), sizes.semantic
    network = SemanticNetwork(config)
    state = {name: noise.weight(name, tuple(tensor.shape)) for name, tensor in network.state_dict().items()}
    network.load_state_dict(state)
    state = {name: tensor.to(machine.device) for name, tensor in state.items()}
    tokenizer = SemanticTokenizer(network.to(machine.device).eval())
    plain = PlainSemanticEncoder(state, config.n_audio_head)
    for seconds in sorted({min(length, 30.0) for length in lengths}):
        mel = whisper_log_mel(torch.randn(round(seconds * RATE), device=machine.device), config.n_mels)
        yield machine.compare(
            f"semantic tokenizer, {seconds:g} s",
            lambda mel=mel: tokenizer.hidden([mel])[0],
            lambda mel=mel: plain.encode(mel),
            atol=1e-3,
            rtol=1e-3,
            audio=seconds,
        )


def speaker(machine: Machine, lengths: Sequence[float]) -> Iterator[Row]:
    """The speaker embedding and the prompt's mel, neither of which has a plain counterpart."""
    noise, network, mel = Noise(0), CamPlus(), MelConfig()
    shapes = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    network.load_state_dict({name: noise.weight(name, shape) for name, shape in shapes.items()})
    frontend = SpeakerFrontend(network.to(machine.device).eval(), mel)
    for seconds in lengths:
        heard = torch.randn(round(seconds * SPEAKER_RATE)) * 0.1
        with FlopCounterMode(display=False) as counter:
            frontend.embed(heard)
        yield machine.alone(
            f"speaker embedding, {seconds:g} s",
            lambda heard=heard: frontend.embed(heard),
            audio=seconds,
            flops=counter.get_total_flops(),
        )
        sound = torch.randn(round(seconds * mel.sampling_rate), device=machine.device) * 0.1
        yield machine.alone(f"prompt mel, {seconds:g} s", lambda sound=sound: prompt_mel(sound, mel), audio=seconds)
