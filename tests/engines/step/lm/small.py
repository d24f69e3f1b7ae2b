"""Small language models with weights by the golden rule."""

from __future__ import annotations

import torch

from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1
from editx.engines.step.lm.switches import Switches
from editx.engines.step.text.audio_tokens import TokenLayout
from tests import golden

LAYOUT = TokenLayout(eos=3, audio_base=100, linguistic=40, semantic=160)
"""Audio ids of a vocabulary of 320: 100 to 139 linguistic, 140 to 299 semantic."""

CONFIG = LanguageModelConfig(
    hidden_size=96,
    intermediate_size=160,
    heads=6,
    groups=2,
    layers=3,
    vocab_size=320,
    max_seq_len=1024,
)


def model(
    config: LanguageModelConfig = CONFIG,
    *,
    switches: Switches | None = None,
    dtype: torch.dtype = torch.float32,
    device: torch.device | str = "cpu",
    salt: str = "",
    max_tokens: int = 512,
) -> Step1:
    """A model whose parameters follow the rule on their checkpoint keys."""
    made = Step1(config, device=device, dtype=dtype, switches=switches, max_tokens=max_tokens)
    with torch.no_grad():
        for key, parameter in made.state_dict().items():
            parameter.copy_(golden.weight(key, tuple(parameter.shape), salt))
    made.prepare()
    return made
