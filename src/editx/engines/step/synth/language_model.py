"""A synthetic language model: `config.json` and weights, as bf16, int4 or NF4 (spec 10)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch

from editx.engines.layout import WEIGHT_INDEX
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1
from editx.engines.step.quantize_layout import (
    bf16_config,
    is_quantized,
    quantized_config,
    quantized_specs,
    quantized_tensors,
)
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.sizes import Sizes
from editx.engines.step.weights.writer import SafetensorsWriter, TensorSpec

_SHARD = "model-00001.safetensors"


def language_shapes(config: LanguageModelConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the bf16 checkpoint."""
    model = Step1(config, device="meta", dtype=torch.bfloat16)
    return {name: tuple(value.shape) for name, value in model.state_dict().items()}


def write_language_model(directory: Path, sizes: Sizes, variant: str, noise: Noise) -> None:
    """Write `config.json`, `generation_config.json` and the weights of `variant` into `directory`.

    All variants of one seed are the same model. No more than one matrix is in memory at a time.
    """
    special = {"bos_token_id": sizes.language.bos, "eos_token_id": sizes.language.eos, "pad_token_id": 0}
    _write_json(directory / "generation_config.json", special)
    _write_json(directory / "config.json", quantized_config(bf16_config(sizes.language), variant, sizes.group))
    plain = [TensorSpec(name, torch.bfloat16, shape) for name, shape in language_shapes(sizes.language).items()]
    if variant == "base":
        stored, name = plain, _SHARD
        index = {"metadata": {"total_size": sum(spec.size for spec in plain)}}
        _write_json(directory / WEIGHT_INDEX, {**index, "weight_map": {spec.name: name for spec in plain}})
    else:
        stored = [part for spec in plain for part in quantized_specs(spec, variant, sizes.group)]
        name = "model.safetensors"
    with SafetensorsWriter(directory / name, stored, {"format": "pt"}) as writer:
        for spec in plain:
            if variant == "base" or not is_quantized(spec.name):
                for rows in noise.rows(spec.name, spec.shape):
                    writer.write(spec.name, rows.bfloat16())
                continue
            weight = noise.weight(spec.name, spec.shape).bfloat16()
            for key, tensor in quantized_tensors(spec.name, weight, variant, sizes.group).items():
                writer.write(key, tensor)


def _write_json(path: Path, value: dict[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=2) + "\n", "utf-8")
