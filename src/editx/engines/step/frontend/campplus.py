"""CAM++, the speaker embedding: filter bank in, 192 numbers out (spec 60 §4.1).

Parameter names are those of the public torch checkpoint. `campplus_onnx.py` finds them in the published ONNX file.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F

EMBEDDING = 192
BANDS = 80
BLOCKS = ((12, 1), (24, 2), (16, 2))
"""Layers and dilation of each dense block."""
_CHANNELS, _GROWTH, _BOTTLENECK, _GATE = 128, 32, 128, 64
_HEAD = 32
_SEGMENT = 100
BATCH_NORM_EPS = 1e-5


class FrozenBatchNorm(nn.Module):
    """Batch norm that only ever infers, over channels in dimension 1."""

    weight: torch.Tensor | None
    bias: torch.Tensor | None
    running_mean: torch.Tensor
    running_var: torch.Tensor

    def __init__(self, channels: int, *, affine: bool = True) -> None:
        super().__init__()
        self.register_parameter("weight", nn.Parameter(torch.ones(channels)) if affine else None)
        self.register_parameter("bias", nn.Parameter(torch.zeros(channels)) if affine else None)
        self.register_buffer("running_mean", torch.zeros(channels))
        self.register_buffer("running_var", torch.ones(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, eps=BATCH_NORM_EPS)


class Residual(nn.Module):
    """Two 3×3 convolutions around a shortcut; `stride` applies to frequency only."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(_HEAD, _HEAD, 3, (stride, 1), 1, bias=False)
        self.bn1 = FrozenBatchNorm(_HEAD)
        self.conv2 = nn.Conv2d(_HEAD, _HEAD, 3, 1, 1, bias=False)
        self.bn2 = FrozenBatchNorm(_HEAD)
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut = nn.Sequential(nn.Conv2d(_HEAD, _HEAD, 1, (stride, 1), bias=False), FrozenBatchNorm(_HEAD))

    def forward(self, x_bcft: torch.Tensor) -> torch.Tensor:
        y_bcft = F.relu(self.bn1(self.conv1(x_bcft)))
        return F.relu(self.bn2(self.conv2(y_bcft)) + self.shortcut(x_bcft))


class Head(nn.Module):
    """(b, 80, t) as an image to (b, 320, t)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, _HEAD, 3, 1, 1, bias=False)
        self.bn1 = FrozenBatchNorm(_HEAD)
        self.layer1 = nn.Sequential(Residual(2), Residual(1))
        self.layer2 = nn.Sequential(Residual(2), Residual(1))
        self.conv2 = nn.Conv2d(_HEAD, _HEAD, 3, (2, 1), 1, bias=False)
        self.bn2 = FrozenBatchNorm(_HEAD)

    def forward(self, x_bft: torch.Tensor) -> torch.Tensor:
        x_bcft = F.relu(self.bn1(self.conv1(x_bft[:, None])))
        x_bcft = self.layer2(self.layer1(x_bcft))
        return F.relu(self.bn2(self.conv2(x_bcft))).flatten(1, 2)


class BatchNormRelu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.batchnorm = FrozenBatchNorm(channels)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.relu(self.batchnorm(x))


class Tdnn(nn.Module):
    """Halves the frames: (b, 320, t) to (b, 128, ceil(t / 2))."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Conv1d(_HEAD * BANDS // 8, _CHANNELS, 5, stride=2, padding=2, bias=False)
        self.nonlinear = BatchNormRelu(_CHANNELS)

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        y_bct: torch.Tensor = self.nonlinear(self.linear(x_bct))
        return y_bct


class ContextMask(nn.Module):
    """A dilated convolution, gated by what the whole clip and each segment of 100 frames sound like on average."""

    def __init__(self, dilation: int) -> None:
        super().__init__()
        self.linear_local = nn.Conv1d(_BOTTLENECK, _GROWTH, 3, padding=dilation, dilation=dilation, bias=False)
        self.linear1 = nn.Conv1d(_BOTTLENECK, _GATE, 1)
        self.linear2 = nn.Conv1d(_GATE, _GROWTH, 1)

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        frames = x_bct.shape[-1]
        # ceil_mode lets the last, shorter segment average its own frames only.
        segments_bcs = F.avg_pool1d(x_bct, _SEGMENT, _SEGMENT, ceil_mode=True)
        context_bcs = x_bct.mean(-1, keepdim=True) + segments_bcs
        gate_bcs = torch.sigmoid(self.linear2(F.relu(self.linear1(context_bcs))))
        gate_bct = gate_bcs.repeat_interleave(_SEGMENT, -1)[..., :frames]
        local_bct: torch.Tensor = self.linear_local(x_bct)
        return local_bct * gate_bct


class DenseLayer(nn.Module):
    def __init__(self, channels: int, dilation: int) -> None:
        super().__init__()
        self.nonlinear1 = BatchNormRelu(channels)
        self.linear1 = nn.Conv1d(channels, _BOTTLENECK, 1, bias=False)
        self.nonlinear2 = BatchNormRelu(_BOTTLENECK)
        self.cam_layer = ContextMask(dilation)

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        y_bct: torch.Tensor = self.cam_layer(self.nonlinear2(self.linear1(self.nonlinear1(x_bct))))
        return y_bct


class DenseBlock(nn.Module):
    """Every layer sees all that came before it and adds 32 channels."""

    def __init__(self, channels: int, layers: int, dilation: int) -> None:
        super().__init__()
        for index in range(layers):
            self.add_module(f"tdnnd{index + 1}", DenseLayer(channels + _GROWTH * index, dilation))

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        for layer in self.children():
            x_bct = torch.cat([x_bct, layer(x_bct)], 1)
        return x_bct


class Transit(nn.Module):
    """Halves the channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.nonlinear = BatchNormRelu(channels)
        self.linear = nn.Conv1d(channels, channels // 2, 1, bias=False)

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        y_bct: torch.Tensor = self.linear(self.nonlinear(x_bct))
        return y_bct


class Embedding(nn.Module):
    """Statistics (b, 1024) to (b, 192), normalised without gain."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Conv1d(2 * channels, EMBEDDING, 1, bias=False)
        self.nonlinear = nn.Sequential()
        self.nonlinear.add_module("batchnorm", FrozenBatchNorm(EMBEDDING, affine=False))

    def forward(self, x_bc: torch.Tensor) -> torch.Tensor:
        y_bc: torch.Tensor = self.nonlinear(self.linear(x_bc[..., None]))
        return y_bc[..., 0]


class Xvector(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.tdnn = Tdnn()
        channels = _CHANNELS
        for number, (layers, dilation) in enumerate(BLOCKS, 1):
            self.add_module(f"block{number}", DenseBlock(channels, layers, dilation))
            channels += _GROWTH * layers
            self.add_module(f"transit{number}", Transit(channels))
            channels //= 2
        self.out_nonlinear = BatchNormRelu(channels)
        self.dense = Embedding(channels)

    def forward(self, x_bct: torch.Tensor) -> torch.Tensor:
        for name, stage in self.named_children():
            x_bct = stage(statistics(x_bct) if name == "dense" else x_bct)
        return x_bct


class CamPlus(nn.Module):
    """Filter bank without its mean, float32 (b, t, 80), t ≥ 3, to the raw embedding (b, 192)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = Head()
        self.xvector = Xvector()

    def forward(self, fbank_btf: torch.Tensor) -> torch.Tensor:
        embedding_bc: torch.Tensor = self.xvector(self.head(fbank_btf.transpose(1, 2)))
        return embedding_bc


def statistics(x_bct: torch.Tensor) -> torch.Tensor:
    """Mean and unbiased standard deviation over time: (b, c, t) to (b, 2c)."""
    return torch.cat([x_bct.mean(-1), x_bct.std(-1, correction=1)], 1)
