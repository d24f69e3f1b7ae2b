"""CAM++ with golden weights, and as the ONNX file its export would be."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import nn

from editx.engines.step.frontend.campplus import CamPlus, FrozenBatchNorm
from editx.engines.step.frontend.campplus_onnx import _node_path, _norm_behind
from tests import golden
from tests.engines.step import onnx_writer as write
from tests.engines.step.tokenizers.helpers import filled


@lru_cache(maxsize=2)
def campplus(salt: str = "") -> CamPlus:
    with torch.device("meta"):
        network = CamPlus()
    filled(network, salt)
    return network


def exported(network: CamPlus, *, fold: bool = True) -> bytes:
    """What an exporter writes: norms behind a convolution folded into it, all other norms as nodes."""
    modules = dict(network.named_modules())
    nodes: list[bytes] = []
    initializers: list[bytes] = []
    folded: set[str] = set()
    for name, conv in modules.items():
        if not isinstance(conv, nn.Conv1d | nn.Conv2d):
            continue
        weight, bias = conv.weight, conv.bias
        norm = modules.get(_norm_behind(name, modules)) if fold else None
        if isinstance(norm, FrozenBatchNorm):
            folded.add(_norm_behind(name, modules))
            gain = (norm.running_var.double() + 1e-5).rsqrt()
            gain = gain if norm.weight is None else gain * norm.weight
            shift = -norm.running_mean * gain
            bias = (shift if norm.bias is None else shift + norm.bias).float()
            weight = (weight * gain.reshape(-1, *[1] * (weight.ndim - 1))).float()
        own = f"onnx::Conv_{len(nodes)}" if isinstance(norm, FrozenBatchNorm) else f"{name}.weight"
        inputs = ["x", own]
        initializers.append(write.tensor(own, weight.numpy()))
        if bias is not None:
            inputs.append(f"{own}_bias")
            initializers.append(write.tensor(inputs[-1], bias.numpy()))
        nodes.append(write.node(f"{_node_path(name)}/Conv", "Conv", inputs))
    for name, norm in modules.items():
        if isinstance(norm, FrozenBatchNorm) and name not in folded:
            state = {f"{name}.{key}": tensor for key, tensor in norm.state_dict().items()}
            state.setdefault(f"{name}.weight", torch.ones_like(norm.running_mean))  # constants, where it has no gain
            state.setdefault(f"{name}.bias", torch.zeros_like(norm.running_mean))
            keys = [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
            initializers += [write.tensor(key, state[key].numpy()) for key in keys]
            epsilon = write.float_attribute("epsilon", 1e-5)
            node_name = f"{_node_path(name)}/BatchNormalization"
            nodes.append(write.node(node_name, "BatchNormalization", ["x", *keys], attributes=[epsilon]))
    return write.model(nodes, initializers)


def noise(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.from_numpy(np.asarray(golden.normal(name, shape)))
