"""Which tensors and which `config.json` a quantised checkpoint has, given the bf16 one (spec 10 §2, §6, §7)."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch

from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.int4 import PER_WORD
from editx.engines.step.lm.nf4 import BLOCK, NESTED_BLOCK
from editx.engines.step.quantize_formats import NF4, STATE_BYTES, quantize_int4, quantize_nf4
from editx.engines.step.weights.writer import TensorSpec
from editx.errors import InvalidRequest

VARIANTS = ("awq", "bnb")
DEFAULT_GROUP = 128
_PROJECTION = re.compile(r"model\.layers\.\d+\.(?:self_attn|mlp)\.\w+_proj\.weight")


def is_quantized(key: str) -> bool:
    """Whether the tensor `key` of a bf16 checkpoint is stored in four bits. Embedding, head and norms never are."""
    return _PROJECTION.fullmatch(key) is not None


def quantized_specs(spec: TensorSpec, variant: str, group: int) -> list[TensorSpec]:
    """What becomes of one tensor of the bf16 checkpoint. Raises InvalidRequest for a matrix that groups do not fit."""
    if not is_quantized(spec.name):
        return [spec]
    out, width = spec.shape
    count = out * width
    if variant == "awq":
        if width % group or group % PER_WORD:
            raise InvalidRequest(f"groups of {group} do not fit rows of {width}, as {spec.name} has", param="--group")
        shapes = {
            "_packed": (torch.int32, (out, width // PER_WORD)),
            "_scale": (torch.bfloat16, (out, width // group)),
            "_shape": (torch.int64, (2,)),
        }
    else:
        if count % BLOCK:
            raise InvalidRequest(f"blocks of {BLOCK} do not fit the {count} weights of {spec.name}")
        shapes = {
            "": (torch.uint8, (count // 2, 1)),
            ".absmax": (torch.uint8, (count // BLOCK,)),
            ".quant_map": (torch.float32, (len(NF4),)),
            ".nested_absmax": (torch.float32, (-(-count // BLOCK // NESTED_BLOCK),)),
            ".nested_quant_map": (torch.float32, (256,)),
            ".quant_state.bitsandbytes__nf4": (torch.uint8, (STATE_BYTES,)),
        }
    return [TensorSpec(spec.name + suffix, dtype, shape) for suffix, (dtype, shape) in shapes.items()]


def quantized_tensors(key: str, weight: torch.Tensor, variant: str, group: int) -> dict[str, torch.Tensor]:
    """The tensors that `quantized_specs` announces, by key."""
    if not is_quantized(key):
        return {key: weight}
    parts = quantize_int4(weight, group) if variant == "awq" else quantize_nf4(weight)
    return {key + suffix: tensor for suffix, tensor in parts.items()}


def bf16_config(config: LanguageModelConfig) -> dict[str, Any]:
    """`config.json` of the bf16 checkpoint."""
    return {
        "architectures": ["Step1ForCausalLM"],
        "model_type": "step1",
        "bos_token_id": config.bos,
        "eos_token_id": config.eos,
        "pad_token_id": 0,
        "hidden_size": config.hidden_size,
        "intermediate_size": config.intermediate_size,
        "num_attention_heads": config.heads,
        "num_attention_groups": config.groups,
        "num_hidden_layers": config.layers,
        "max_seq_len": config.max_seq_len,
        "rms_norm_eps": config.rms_norm_eps,
        "torch_dtype": "bfloat16",
        "vocab_size": config.vocab_size,
    }


def quantized_config(config: Mapping[str, Any], variant: str, group: int) -> dict[str, Any]:
    """`config.json` of a quantised checkpoint; for the variant `base`, `config` itself."""
    changed = copy.deepcopy(dict(config))
    if variant == "awq":
        weights = {
            "num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": group,
            "dynamic": False, "observer": "minmax", "actorder": None, "block_structure": None, "observer_kwargs": {},
        }  # fmt: skip
        changed["quantization_config"] = {
            "quant_method": "compressed-tensors", "quantization_status": "compressed", "format": "pack-quantized",
            "config_groups": {
                "group_0": {
                    "format": "pack-quantized", "targets": ["Linear"], "weights": weights,
                    "input_activations": None, "output_activations": None,
                }
            },
            "ignore": ["lm_head"], "kv_cache_scheme": None,
        }  # fmt: skip
    elif variant == "bnb":
        changed["quantization_config"] = {
            "quant_method": "bitsandbytes", "load_in_4bit": True, "load_in_8bit": False,
            "bnb_4bit_quant_type": "nf4", "bnb_4bit_use_double_quant": True, "bnb_4bit_compute_dtype": "bfloat16",
            "bnb_4bit_quant_storage": "uint8", "llm_int8_skip_modules": ["lm_head"],
        }  # fmt: skip
    return changed
