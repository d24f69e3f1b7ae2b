"""A synthetic `campplus.onnx`: weights under the names and in the places of the published file (spec 60 §4.1).

Every batch norm that directly follows a convolution is folded into it, as the exporter does; the others are nodes. It
holds the nodes that weights hang on, not the arithmetic between them, so it cannot be run as it is.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch

from editx.engines.step.frontend.campplus import BATCH_NORM_EPS, CamPlus
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.onnx_file import OnnxFile

_FOLLOWS = (
    (r"head\.((?:layer\d\.\d\.)?)conv(\d)", r"head.\1bn\2"),
    (r"head\.(layer\d\.\d)\.shortcut\.0", r"head.\1.shortcut.1"),
    (r"xvector\.tdnn\.linear", "xvector.tdnn.nonlinear.batchnorm"),
    (r"xvector\.(block\d\.tdnnd\d+)\.linear1", r"xvector.\1.nonlinear2.batchnorm"),
    (r"xvector\.transit3\.linear", "xvector.out_nonlinear.batchnorm"),
    (r"xvector\.dense\.linear", "xvector.dense.nonlinear.batchnorm"),
)
"""Which batch norm is folded into which convolution."""


def write_speaker(path: Path, noise: Noise) -> None:
    """Write the file."""
    with torch.device("meta"):
        shapes = {name: tuple(value.shape) for name, value in CamPlus().state_dict().items()}
    weights = {name: noise.weight(name, shape) for name, shape in shapes.items()}
    onnx = OnnxFile()
    x = onnx.port(output=False, name="input", kind="float32", shape=("B", "T", 80))
    folded = {norm for name in weights if (norm := _norm_after(name.removesuffix(".weight")))}
    for name, weight in weights.items():
        owner, _, kind = name.rpartition(".")
        place = _place(owner)
        if owner in folded:
            continue
        if kind == "running_mean":
            parts = [f"{owner}.{part}" for part in ("weight", "bias", "running_mean", "running_var")]
            inputs = [onnx.initializer(part, weights[part].numpy()) for part in parts]
            x = onnx.node("BatchNormalization", f"{place}/BatchNormalization", [x, *inputs])
        elif weight.dim() >= 3:
            x = onnx.node("Conv", f"{place}/Conv", [x, *_convolution(onnx, owner, weights)])
    onnx.port(output=True, name="output", kind="float32", shape=("B", 192))
    onnx.write(path)


def _convolution(onnx: OnnxFile, owner: str, weights: dict[str, torch.Tensor]) -> list[str]:
    """Adds the weights of a convolution, with the batch norm behind it where there is one."""
    kernel, bias = weights[f"{owner}.weight"], weights.get(f"{owner}.bias")
    norm = _norm_after(owner)
    if norm is None:
        named = {"weight": kernel, "bias": bias}
        return [onnx.initializer(f"{owner}.{kind}", x.numpy()) for kind, x in named.items() if x is not None]
    scale = torch.rsqrt(weights[f"{norm}.running_var"] + BATCH_NORM_EPS) * weights.get(f"{norm}.weight", torch.ones(()))
    shift = weights.get(f"{norm}.bias", torch.zeros(())) - weights[f"{norm}.running_mean"] * scale
    kernel = kernel * scale.view(-1, *[1] * (kernel.dim() - 1))
    return [onnx.generated("Conv", kernel.numpy()), onnx.generated("Conv", shift.numpy())]


def _norm_after(owner: str) -> str | None:
    for pattern, norm in _FOLLOWS:
        if found := re.fullmatch(pattern, owner):
            return found.expand(norm)
    return None


def _place(owner: str) -> str:
    """`head.layer1.0.shortcut.0` is node `/head/layer1/layer1.0/shortcut/shortcut.0`."""
    place = ""
    for part in owner.split("."):
        last = place.rpartition("/")[2]
        place += f"/{last}.{part}" if part.isdigit() else f"/{part}"
    return place
