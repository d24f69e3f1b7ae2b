"""Which weights of `speech_tokenizer_v1.onnx` are which parameters of `SemanticNetwork` (spec 30 §6.2).

Matrices have generated names there, so they are found through the node that uses them. A MatMul holds its matrix as
(in, out), where torch wants (out, in).
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from editx.engines.step.onnx_weights import OnnxGraph
from editx.engines.step.tokenizers.semantic_network import SemanticConfig

_CODEBOOK = "/quantizer/rq/model/layers.0/_codebook/MatMul"
_LINEARS = {
    "attn.query": "attn/query",
    "attn.key": "attn/key",
    "attn.value": "attn/value",
    "attn.out": "attn/out",
    "mlp.0": "mlp/mlp.0",
    "mlp.2": "mlp/mlp.2",
}
_NAMED = ("conv1.weight", "conv1.bias", "conv2.weight", "conv2.bias", "positional_embedding")
_NORMS = ("attn_ln.weight", "attn_ln.bias", "mlp_ln.weight", "mlp_ln.bias")


def semantic_config(graph: OnnxGraph) -> SemanticConfig:
    """Sizes of the network in `graph`. Raises LoadFailed if parts of it are missing."""
    conv = _array(graph, graph.initializer("encoders.conv1.weight"), 3)
    positions = _array(graph, graph.initializer("encoders.positional_embedding"), 2)
    codebook = _array(graph, graph.weight_of(_CODEBOOK), 2)
    heads = graph.node("/blocks.0/attn/Constant_1").tensors.get("value")
    if heads is None or heads.size != 1 or heads.dtype.kind != "i":
        raise graph.broken("does not say how many attention heads it has in node '/blocks.0/attn/Constant_1'")
    blocks = {int(found[1]) for name in graph.nodes if (found := re.match(r"/blocks\.(\d{1,4})/", name))}
    if blocks != set(range(len(blocks))):
        raise graph.broken(f"has blocks {sorted(blocks)} where an unbroken series is expected")
    return SemanticConfig(
        n_mels=conv.shape[1],
        n_audio_ctx=positions.shape[0],
        n_audio_state=conv.shape[0],
        n_audio_head=int(heads.reshape(-1)[0]),
        n_audio_layer=len(blocks),
        n_codebook_size=codebook.shape[1],
    )


def semantic_weights(graph: OnnxGraph) -> dict[str, torch.Tensor]:
    """State dict of `SemanticNetwork(semantic_config(graph))`: float32 copies, contiguous, on the CPU."""
    config = semantic_config(graph)
    found = {f"encoder.{name}": graph.initializer(f"encoders.{name}") for name in _NAMED}
    for block in range(config.n_audio_layer):
        here, there = f"encoder.blocks.{block}", f"/blocks.{block}"
        for name in _NORMS:
            found[f"{here}.{name}"] = graph.initializer(f"encoders.blocks.{block}.{name}")
        for name, node in _LINEARS.items():
            found[f"{here}.{name}.weight"] = _array(graph, graph.weight_of(f"{there}/{node}/MatMul"), 2).T
            if name != "attn.key":
                found[f"{here}.{name}.bias"] = graph.weight_of(f"{there}/{node}/Add")
    found["quantizer._codebook.embed"] = _array(graph, graph.weight_of(_CODEBOOK), 2).T
    return {name: torch.from_numpy(np.array(array, np.float32, order="C")) for name, array in found.items()}


def _array(graph: OnnxGraph, array: NDArray[Any], dimensions: int) -> NDArray[Any]:
    if array.ndim != dimensions:
        raise graph.broken(f"has a weight of shape {array.shape} where {dimensions} dimensions are expected")
    return array
