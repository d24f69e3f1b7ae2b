"""Hyper-parameters of the language model, read from a checkpoint's `config.json` (spec 10 §2, §6 and §7)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from editx.engines.step.lm.int4_sizes import fits
from editx.errors import LoadFailed

REMEDY = "fetch the published checkpoint again"


@dataclass(frozen=True, slots=True)
class Quantization:
    """How the projections of all layers are stored. Embedding, head and norms never are quantised."""

    kind: Literal["int4", "nf4"]
    group_size: int = 128
    """int4: weights that share a scale. nf4: fixed at 64 by the layout."""
    symmetric: bool = True


@dataclass(frozen=True, slots=True)
class LanguageModelConfig:
    """Sizes of a Step1 decoder. The defaults are the published model's."""

    hidden_size: int = 3072
    intermediate_size: int = 8192
    heads: int = 48
    groups: int = 4
    """Key/value heads; `heads // groups` query heads share each."""
    layers: int = 32
    vocab_size: int = 74752
    rms_norm_eps: float = 1e-5
    max_seq_len: int = 32768
    bos: int = 1
    eos: int = 3
    quantization: Quantization | None = None

    def __post_init__(self) -> None:
        """Raises LoadFailed for sizes that do not fit together."""
        for name in ("hidden_size", "intermediate_size", "heads", "groups", "layers", "vocab_size", "max_seq_len"):
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise LoadFailed(f"{name} of the language model is {value!r} and should be a whole number above 0")
        if self.hidden_size % self.heads or self.heads % self.groups:
            raise LoadFailed(
                f"{self.heads} attention heads divide neither a hidden size of {self.hidden_size} nor into "
                f"{self.groups} groups evenly; {REMEDY}"
            )
        if not self.rms_norm_eps > 0:
            raise LoadFailed(f"rms_norm_eps of the language model is {self.rms_norm_eps!r} and should be above 0")

    @property
    def head_dim(self) -> int:
        return self.hidden_size // self.heads

    @property
    def kv_size(self) -> int:
        """Width of the keys, and of the values, of one token in one layer."""
        return self.groups * self.head_dim

    @property
    def weights(self) -> int:
        """How many there are, norms left out, whatever they are stored as."""
        d = self.hidden_size
        layer = 2 * d * (d + self.kv_size) + 3 * d * self.intermediate_size
        return self.layers * layer + 2 * self.vocab_size * d

    @property
    def int4_on_cpu(self) -> bool:
        """Whether torch's int4 product for CPUs takes every projection."""
        form = self.quantization
        rows = (self.hidden_size, self.kv_size, self.intermediate_size)
        return (
            form is not None
            and form.kind == "int4"
            and form.symmetric
            and all(fits(out_features, form.group_size) for out_features in rows)
        )

    @classmethod
    def read(cls, path: Path) -> LanguageModelConfig:
        """Read a `config.json`. Raises LoadFailed, naming the file, for one that is missing or does not fit."""
        try:
            data = json.loads(path.read_text("utf-8"))
        except OSError as error:
            raise LoadFailed(f"cannot read {path}: {error.strerror}; {REMEDY}") from error
        except ValueError as error:
            raise LoadFailed(f"{path} is damaged: {error}; {REMEDY}") from error
        if not isinstance(data, dict):
            raise LoadFailed(f"{path} is damaged: it holds no JSON object; {REMEDY}")
        try:
            return cls.parse(data)
        except LoadFailed as error:
            raise LoadFailed(f"{path}: {error.message}") from None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> LanguageModelConfig:
        """The configuration that the JSON object `data` states. Raises LoadFailed naming the key that does not fit."""
        kind = data.get("model_type", "step1")
        if kind != "step1":
            raise LoadFailed(f"model_type is {kind!r} and should be 'step1': this is another model")
        if data.get("tie_word_embeddings"):
            raise LoadFailed(
                "tie_word_embeddings is true, but the model has a head of its own (lm_head.weight), and without it "
                f"speaks nonsense; {REMEDY}"
            )
        required = {
            "hidden_size": "hidden_size",
            "intermediate_size": "intermediate_size",
            "heads": "num_attention_heads",
            "groups": "num_attention_groups",
            "layers": "num_hidden_layers",
            "vocab_size": "vocab_size",
        }
        missing = [key for key in required.values() if key not in data]
        if missing:
            raise LoadFailed(f"{', '.join(missing)} is missing; {REMEDY}")
        optional = {
            "rms_norm_eps": "rms_norm_eps",
            "max_seq_len": "max_seq_len",
            "bos": "bos_token_id",
            "eos": "eos_token_id",
        }
        values = {name: data[key] for name, key in required.items()}
        values |= {name: data[key] for name, key in optional.items() if data.get(key) is not None}
        return cls(**values, quantization=_quantization(data.get("quantization_config")))


def _quantization(data: Mapping[str, Any] | None) -> Quantization | None:
    if not data:
        return None
    method = data.get("quant_method")
    if method == "compressed-tensors":
        return _compressed(data)
    if method == "bitsandbytes":
        kind = data.get("bnb_4bit_quant_type", "nf4")
        if not data.get("load_in_4bit", True) or kind != "nf4" or not data.get("bnb_4bit_use_double_quant", True):
            raise LoadFailed("only NF4 with double quantisation is supported of bitsandbytes; use the base variant")
        return Quantization("nf4", group_size=64)
    raise LoadFailed(f"quant_method {method!r} is not supported; use compressed-tensors, bitsandbytes or none")


def _compressed(data: Mapping[str, Any]) -> Quantization:
    groups = data.get("config_groups") or {}
    if len(groups) != 1:
        raise LoadFailed(f"config_groups of quantization_config has {len(groups)} groups and should have one; {REMEDY}")
    (group,) = groups.values()
    weights = group.get("weights") or {}
    wanted = {"num_bits": 4, "type": "int", "strategy": "group"}
    for key, value in wanted.items():
        if weights.get(key, value) != value:
            raise LoadFailed(f"weights of quantization_config have {key} {weights[key]!r}; only {value!r} is supported")
    packing = group.get("format") or data.get("format") or "pack-quantized"
    if packing != "pack-quantized":
        raise LoadFailed(f"format {packing!r} of quantization_config is not supported; only 'pack-quantized' is")
    if group.get("input_activations"):
        raise LoadFailed("quantization_config quantises activations too, which is not supported")
    if "lm_head" not in data.get("ignore", ["lm_head"]):
        raise LoadFailed("quantization_config does not spare lm_head, which is not supported")
    size = weights.get("group_size", 128)
    if not isinstance(size, int) or size < 8 or size % 8:
        raise LoadFailed(f"group_size of quantization_config is {size!r} and should be a multiple of 8")
    return Quantization("int4", group_size=size, symmetric=bool(weights.get("symmetric", True)))
