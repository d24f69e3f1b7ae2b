"""What a checkpoint's `config.json` may say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from editx.engines.step.lm.config import LanguageModelConfig, Quantization
from editx.errors import LoadFailed

PUBLISHED: dict[str, Any] = {
    "model_type": "step1",
    "architectures": ["Step1ForCausalLM"],
    "hidden_size": 3072,
    "intermediate_size": 8192,
    "num_attention_heads": 48,
    "num_attention_groups": 4,
    "num_hidden_layers": 32,
    "vocab_size": 74752,
    "rms_norm_eps": 1e-5,
    "max_seq_len": 32768,
    "bos_token_id": 1,
    "eos_token_id": 3,
    "pad_token_id": 0,
    "torch_dtype": "bfloat16",
}
WEIGHTS = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": 128, "dynamic": False}


def compressed(**changed: Any) -> dict[str, Any]:
    group = {"format": "pack-quantized", "targets": ["Linear"], "weights": WEIGHTS | changed}
    return {"quant_method": "compressed-tensors", "config_groups": {"group_0": group}, "ignore": ["lm_head"]}


def test_the_published_file() -> None:
    config = LanguageModelConfig.parse(PUBLISHED)
    assert config == LanguageModelConfig()
    assert (config.head_dim, config.kv_size) == (64, 256)


def test_quantised_files() -> None:
    def quantization(data: dict[str, Any]) -> Quantization | None:
        return LanguageModelConfig.parse(PUBLISHED | {"quantization_config": data}).quantization

    assert quantization(compressed()) == Quantization("int4", 128, symmetric=True)
    assert quantization(compressed(symmetric=False, group_size=64)) == Quantization("int4", 64, symmetric=False)
    bnb = {"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}
    assert quantization(bnb) == Quantization("nf4", 64)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"model_type": "llama"}, "llama"),
        ({"tie_word_embeddings": True}, r"lm_head\.weight"),
        ({"hidden_size": 100}, "48 attention heads"),
        ({"num_attention_groups": 5}, "5 groups"),
        ({"num_hidden_layers": 0}, "layers"),
        ({"vocab_size": "many"}, "vocab_size"),
        ({"rms_norm_eps": -1}, "rms_norm_eps"),
        ({"quantization_config": {"quant_method": "gptq"}}, "gptq"),
        ({"quantization_config": compressed(num_bits=8)}, "num_bits"),
        ({"quantization_config": compressed(strategy="channel")}, "strategy"),
        ({"quantization_config": compressed(group_size=7)}, "group_size"),
        ({"quantization_config": compressed() | {"config_groups": {}}}, "config_groups"),
        ({"quantization_config": compressed() | {"ignore": []}}, "lm_head"),
        ({"quantization_config": {"quant_method": "bitsandbytes", "load_in_4bit": False}}, "NF4"),
    ],
)
def test_what_does_not_fit_is_named(changed: dict[str, Any], message: str) -> None:
    with pytest.raises(LoadFailed, match=message):
        LanguageModelConfig.parse(PUBLISHED | changed)


@pytest.mark.parametrize(
    "content", [None, "{", "[]", json.dumps({k: v for k, v in PUBLISHED.items() if k != "vocab_size"})]
)
def test_a_damaged_file_is_named(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "config.json"
    if content is not None:
        path.write_text(content)
    with pytest.raises(LoadFailed, match=r"config\.json.*fetch"):
        LanguageModelConfig.read(path)
    path.write_text(json.dumps(PUBLISHED))
    assert LanguageModelConfig.read(path) == LanguageModelConfig()
