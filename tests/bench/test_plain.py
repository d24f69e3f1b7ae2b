"""What ours is measured against runs on any device: on `meta`, whatever is made on another one stops it."""

from __future__ import annotations

import torch
from bench.plain_decoder import PlainFlow, PlainHift
from bench.plain_lm import PlainLayer, PlainSizes
from bench.plain_tokenizer import PlainLinguisticEncoder, PlainSemanticEncoder

from editx.engines.step.synth.decoder import flow_shapes, vocoder_shapes
from editx.engines.step.synth.sizes import TINY
from editx.engines.step.tokenizers.sanm import LinguisticNetwork
from editx.engines.step.tokenizers.semantic_network import SemanticNetwork

META = torch.device("meta")


def empty(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.empty(shape, dtype=dtype, device=META)


def test_the_layer_of_the_language_model() -> None:
    layer = PlainLayer(PlainSizes(96, 160, 6, 2), dtype=torch.bfloat16, device=META)
    _, past = layer(empty(1, 10, 96, dtype=torch.bfloat16), None)
    out, past = layer(empty(1, 1, 96, dtype=torch.bfloat16), past)
    assert (out.shape, past[0].shape[1]) == ((1, 1, 96), 11)


def test_the_tokenizers() -> None:
    with META:
        linguistic, semantic = LinguisticNetwork(TINY.linguistic), SemanticNetwork(TINY.semantic)
    plain = PlainLinguisticEncoder(linguistic.state_dict(), TINY.linguistic.attention_heads)
    assert plain.encode(empty(10, 560)).shape == (10, TINY.linguistic.output_size)
    heard = PlainSemanticEncoder(semantic.state_dict(), TINY.semantic.n_audio_head).encode(empty(128, 101))
    assert heard.shape == (26, TINY.semantic.n_audio_state)


@torch.inference_mode()
def test_the_flow() -> None:
    shapes = flow_shapes(TINY.flow)
    flow = PlainFlow({name: empty(*shape) for name, shape in shapes.items()}, heads=TINY.flow.encoder.heads)
    prompt, dual = (empty(frames, 2, dtype=torch.int64) for frames in (12, 24))
    mel, embedding = empty(1, 24, 80), empty(1, 192)
    assert flow.offline(prompt, dual, mel, embedding, empty(1, 80, 72)).shape == (1, 80, 48)
    caches = flow.start(torch.cat([prompt, dual[:3]]), mel, embedding, empty(1, 80, 24))
    assert flow.chunk(caches, dual[:18], embedding, empty(1, 80, 30), 24, last=False).shape == (1, 80, 30)


@torch.inference_mode()
def test_the_vocoder() -> None:
    """All but the inverse STFT, which torch does not have on `meta`."""
    hift = PlainHift({name: empty(*shape) for name, shape in vocoder_shapes(TINY.vocoder).items()})
    mel = empty(1, 80, 6)
    source = hift.source(hift.f0(mel), empty(1, 480 * 6, 9))
    assert hift.before_synthesis(mel, source).shape == (1, 18, 120 * 6 + 1)
