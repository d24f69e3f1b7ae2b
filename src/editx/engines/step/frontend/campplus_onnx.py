"""Which weights of `campplus.onnx` are which parameters of `CamPlus` (spec 60 §4.1).

The export folds every batch norm that directly follows a convolution into it. Such a norm becomes one that only adds
the folded convolution's bias, so that the module keeps the public checkpoint's names and computes what the file says.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from editx.engines.step.frontend.campplus import BATCH_NORM_EPS, CamPlus, FrozenBatchNorm
from editx.engines.step.onnx_weights import Node, OnnxGraph

Array = NDArray[Any]


def campplus_weights(graph: OnnxGraph) -> dict[str, torch.Tensor]:
    """State dict of `CamPlus()`: float32 copies, contiguous, on the CPU.

    Raises LoadFailed, naming the node, if a convolution or norm is missing or has another shape.
    """
    with torch.device("meta"):
        modules = dict(CamPlus().named_modules())
    convolutions = {name: module for name, module in modules.items() if isinstance(module, nn.Conv1d | nn.Conv2d)}
    followed = {_norm_behind(name, modules): name for name in convolutions}
    norms = _norm_nodes(graph)
    found: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    for name, module in convolutions.items():
        node = graph.node(f"{_node_path(name)}/Conv")
        found[f"{name}.weight"] = _constant(graph, node, 1)
        if module.bias is not None:
            found[f"{name}.bias"] = _constant(graph, node, 2)
        elif len(node.inputs) > 2:
            biases[name] = _constant(graph, node, 2)
    for name, norm in modules.items():
        if isinstance(norm, FrozenBatchNorm):
            separate = norms.get(f"{_node_path(name)}/BatchNormalization") or norms.get(f"{name}.running_mean")
            if separate is not None:
                parts = _separate(graph, separate)
            elif name in followed:
                channels = norm.running_mean.shape[0]
                parts = _folded(biases.pop(followed[name], np.zeros(channels, np.float32)), norm.bias is not None)
            else:
                raise graph.broken(f"has no batch norm {name!r}")
            found |= {f"{name}.{part}": parts[part] for part in norm.state_dict()}
    if biases:
        raise graph.broken(f"has a bias at {sorted(biases)}, where none is expected")
    return {name: torch.from_numpy(np.array(array, np.float32, order="C")) for name, array in found.items()}


def _norm_behind(conv: str, modules: dict[str, nn.Module]) -> str:
    """Name of the batch norm that takes a convolution's output, whether or not there is one."""
    parent, _, own = conv.rpartition(".")
    if parent.startswith("head"):
        return f"{parent}.1" if own == "0" else f"{parent}.{own.replace('conv', 'bn')}"
    if own == "linear1" and f"{parent}.nonlinear2" in modules:
        return f"{parent}.nonlinear2.batchnorm"
    if parent in ("xvector.tdnn", "xvector.dense"):
        return f"{parent}.nonlinear.batchnorm"
    return "xvector.out_nonlinear.batchnorm" if parent == "xvector.transit3" else f"behind {conv}"


def _node_path(module: str) -> str:
    """The scope that the export gives a module: members of a sequence carry the sequence's name as well."""
    path, last = "", ""
    for part in module.split("."):
        last = f"{last}.{part}" if part.isdigit() else part
        path += f"/{last}"
    return path


def _norm_nodes(graph: OnnxGraph) -> dict[str, Node]:
    """Batch norms that are still nodes, by their own name and by the name of their mean."""
    nodes = [node for node in graph.nodes.values() if node.op == "BatchNormalization" and len(node.inputs) == 5]
    return {node.name: node for node in nodes} | {node.inputs[3]: node for node in nodes}


def _separate(graph: OnnxGraph, node: Node) -> dict[str, Array]:
    epsilon = node.floats.get("epsilon", BATCH_NORM_EPS)
    if abs(epsilon - BATCH_NORM_EPS) > 1e-9:
        raise graph.broken(f"has a batch norm {node.name!r} with epsilon {epsilon}, not {BATCH_NORM_EPS}")
    names = ("weight", "bias", "running_mean", "running_var")
    return {part: _constant(graph, node, at) for at, part in enumerate(names, 1)}


def _folded(bias: Array, affine: bool) -> dict[str, Array]:
    """A norm that adds `bias` and changes nothing else."""
    zeros, ones = np.zeros_like(bias), np.ones_like(bias)
    return {
        "weight": ones,
        "bias": bias if affine else zeros,
        "running_mean": zeros if affine else -bias,
        "running_var": ones - np.float32(BATCH_NORM_EPS),
    }


def _constant(graph: OnnxGraph, node: Node, at: int) -> Array:
    array = graph.constant(node.inputs[at]) if at < len(node.inputs) else None
    if array is None:
        raise graph.broken(f"gives node {node.name!r} no constant as input {at}")
    return array
