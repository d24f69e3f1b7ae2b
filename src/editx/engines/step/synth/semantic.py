"""A synthetic `speech_tokenizer_v1.onnx`: weights with the names and in the places of the published one (spec 30 §6.2).

It holds the nodes that weights hang on, not the arithmetic between them, so it cannot be run as it is.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.onnx_file import OnnxFile
from editx.engines.step.tokenizers.semantic_network import SemanticConfig, SemanticNetwork

_CODEBOOK = "/quantizer/rq/model/layers.0/_codebook/MatMul"


def write_semantic(path: Path, config: SemanticConfig, noise: Noise) -> None:
    """Write the file."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in SemanticNetwork(config).state_dict().items()}

    def weight(name: str) -> NDArray[np.float32]:
        scale = math.sqrt(config.n_audio_state) if name == "encoder.positional_embedding" else 1.0
        return np.asarray(noise.weight(name, shapes[name]).numpy() * np.float32(scale))

    onnx = OnnxFile()
    x = onnx.port(output=False, name="feats", kind="float32", shape=("batch", config.n_mels, "T"))
    onnx.port(output=False, name="feats_length", kind="int32", shape=("batch",))
    for conv in ("conv1", "conv2"):
        parameters = [
            onnx.initializer(f"encoders.{conv}.{kind}", weight(f"encoder.{conv}.{kind}")) for kind in ("weight", "bias")
        ]
        x = onnx.node("Conv", f"/{conv}/Conv", [x, *parameters])
    positions = onnx.initializer("encoders.positional_embedding", weight("encoder.positional_embedding"))
    x = onnx.node("Add", "/Add", [x, positions])
    for i in range(config.n_audio_layer):
        for norm in ("attn_ln", "mlp_ln"):
            for kind in ("weight", "bias"):
                name = f"blocks.{i}.{norm}.{kind}"
                onnx.initializer(f"encoders.{name}", weight(f"encoder.{name}"))
        onnx.constant(f"/blocks.{i}/attn/Constant_1", np.array([config.n_audio_head], np.int64))
        for linear in ("attn.query", "attn.key", "attn.value", "attn.out", "mlp.0", "mlp.2"):
            name = f"blocks.{i}.{linear}"
            group, _, last = linear.partition(".")
            place = f"/blocks.{i}/{group}/{linear if group == 'mlp' else last}"
            matrix = onnx.generated("MatMul", weight(f"encoder.{name}.weight").T)
            x = onnx.node("MatMul", f"{place}/MatMul", [x, matrix])
            if linear != "attn.key":
                bias = onnx.initializer(f"encoders.{name}.bias", weight(f"encoder.{name}.bias"))
                x = onnx.node("Add", f"{place}/Add", [bias, x])
    codebook = onnx.generated("MatMul", weight("quantizer._codebook.embed").T)
    onnx.node("MatMul", _CODEBOOK, [x, codebook])
    onnx.port(output=True, name="indices", kind="int64", shape=("batch", "T4"))
    onnx.write(path)
