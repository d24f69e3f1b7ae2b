"""How large the parts of a synthetic checkpoint are. Names and vocabularies are the published ones at any size."""

from __future__ import annotations

from dataclasses import dataclass

from editx.engines.step.decoder.config import DiTConfig, EncoderConfig, FlowConfig, HiftConfig
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.tokenizers.sanm import LinguisticConfig
from editx.engines.step.tokenizers.semantic_network import SemanticConfig

CENTROIDS = 1024
"""Linguistic codes."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """One size of everything. `group`: int4 weights that share a scale. The speaker encoder has one size only."""

    language: LanguageModelConfig
    group: int
    flow: FlowConfig
    vocoder: HiftConfig
    linguistic: LinguisticConfig
    semantic: SemanticConfig


FULL = Sizes(
    language=LanguageModelConfig(),
    group=128,
    flow=FlowConfig(
        encoder=EncoderConfig(output_size=512, heads=8),
        dit=DiTConfig(depth=16, hidden_size=512),
    ),
    vocoder=HiftConfig(),
    linguistic=LinguisticConfig(),
    semantic=SemanticConfig(),
)
"""The published sizes."""

TINY = Sizes(
    language=LanguageModelConfig(hidden_size=64, intermediate_size=128, heads=4, groups=2, layers=2),
    group=32,
    flow=FlowConfig(
        input_size=64,
        encoder=EncoderConfig(input_size=64, output_size=64, num_blocks=2, num_up_blocks=1, heads=2, linear_units=128),
        dit=DiTConfig(depth=2, num_heads=2, head_dim=32, hidden_size=64),
    ),
    vocoder=HiftConfig(base_channels=32, cond_channels=32),
    linguistic=LinguisticConfig(output_size=64, attention_heads=2, linear_units=128, num_blocks=2),
    semantic=SemanticConfig(n_audio_state=64, n_audio_head=2, n_audio_layer=2),
)
"""Everything as small as the formats allow: for tests."""

SIZES = {"tiny": TINY, "full": FULL}
