"""The linguistic encoder: 50 layers of self-attention with a depthwise memory (SAN-M), pre-norm (spec 30 §5.3).

Parameter names are those of the published checkpoint. The windows that make it stream are in `windows.py`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from editx.engines.step.decoder.layers import Linear
from editx.engines.step.tokenizers.hook import Hook
from editx.engines.step.tokenizers.windows import Windows
from editx.errors import LoadFailed

_EPS = 1e-12


@dataclass(frozen=True, slots=True)
class LinguisticConfig:
    """Sizes of the encoder, under the names that `encoder_conf` of the published `config.yaml` gives them."""

    input_size: int = 560
    output_size: int = 512
    attention_heads: int = 4
    linear_units: int = 2048
    num_blocks: int = 50
    kernel_size: int = 11

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise LoadFailed(f"the linguistic encoder's {each.name} is a positive whole number, not {value!r}")
        if self.output_size % self.attention_heads or self.kernel_size % 2 == 0:
            raise LoadFailed(
                f"the linguistic encoder needs output_size divisible by attention_heads and an odd kernel_size, "
                f"not {self.output_size}, {self.attention_heads} and {self.kernel_size}"
            )

    @staticmethod
    def from_mapping(values: Mapping[str, Any]) -> LinguisticConfig:
        """Take what is known from a mapping such as `encoder_conf`; the training settings in it are ignored."""
        return LinguisticConfig(**{f.name: values[f.name] for f in fields(LinguisticConfig) if f.name in values})


class SanmAttention(nn.Module):
    """Attention over cached and own rows, plus a depthwise convolution of the values over the own rows."""

    def __init__(self, width: int, config: LinguisticConfig) -> None:
        super().__init__()
        size = config.output_size
        self.heads = config.attention_heads
        self.linear_q_k_v = Linear(width, 3 * size)
        self.linear_out = Linear(size, size)
        self.fsmn_block = nn.Conv1d(size, size, config.kernel_size, groups=size, bias=False)

    def forward(self, n_cwd: torch.Tensor, at: Windows) -> torch.Tensor:
        """(C, 9, width) normalised input to (C, 9, size)."""
        q_cwd, kv_cwd = self._project(n_cwd)
        v_cwd = kv_cwd[..., kv_cwd.shape[-1] // 2 :]
        if at.valid is not None:
            v_cwd = v_cwd * at.valid[..., None]
        attended_cwd = self._attend(q_cwd, kv_cwd, at)
        return self.linear_out(attended_cwd) + v_cwd + self._memory(v_cwd)

    def _project(self, n_cwd: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        qkv_cwd: torch.Tensor = self.linear_q_k_v(n_cwd)
        size = qkv_cwd.shape[-1] // 3
        return qkv_cwd[..., :size], qkv_cwd[..., size:]

    def _attend(self, q_cwd: torch.Tensor, kv_cwd: torch.Tensor, at: Windows) -> torch.Tensor:
        chunks, rows, size = q_cwd.shape
        kv_ckd = kv_cwd.flatten(0, 1).index_select(0, at.keys.flatten()).unflatten(0, at.keys.shape)
        k_ckhd, v_ckhd = kv_ckd.unflatten(-1, (2, self.heads, -1)).unbind(2)
        q_cwhd = q_cwd.unflatten(-1, (self.heads, -1))
        mixed_chwd = F.scaled_dot_product_attention(
            q_cwhd.transpose(1, 2),
            k_ckhd.transpose(1, 2),
            v_ckhd.transpose(1, 2),
            attn_mask=at.attended[:, None, None, :],
        )
        return mixed_chwd.transpose(1, 2).reshape(chunks, rows, size)

    def _memory(self, v_cwd: torch.Tensor) -> torch.Tensor:
        pad = self.fsmn_block.kernel_size[0] // 2
        v_cdw = F.pad(v_cwd.transpose(1, 2), (pad, pad))
        return F.conv1d(v_cdw, self.fsmn_block.weight, groups=v_cwd.shape[-1]).transpose(1, 2)


class FeedForward(nn.Module):
    def __init__(self, config: LinguisticConfig) -> None:
        super().__init__()
        self.w_1 = Linear(config.output_size, config.linear_units)
        self.w_2 = Linear(config.linear_units, config.output_size)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.w_2(F.relu(self.w_1(x), inplace=True))
        return y


class SanmLayer(nn.Module):
    """One layer. The first one changes the width, so it has no residual around its attention."""

    def __init__(self, width: int, config: LinguisticConfig) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=_EPS)
        self.self_attn = SanmAttention(width, config)
        self.norm2 = nn.LayerNorm(config.output_size, eps=_EPS)
        self.feed_forward = FeedForward(config)
        self.residual = width == config.output_size

    def forward(self, h_cwd: torch.Tensor, at: Windows) -> torch.Tensor:
        attended_cwd: torch.Tensor = self.self_attn(self.norm1(h_cwd), at)
        h_cwd = h_cwd + attended_cwd if self.residual else attended_cwd
        out_cwd: torch.Tensor = h_cwd + self.feed_forward(self.norm2(h_cwd))
        return out_cwd


class SanmEncoder(nn.Module):
    """`encoders0` holds the layer that takes the features in, `encoders` the rest."""

    def __init__(self, config: LinguisticConfig) -> None:
        super().__init__()
        self.encoders0 = nn.ModuleList([SanmLayer(config.input_size, config)])
        self.encoders = nn.ModuleList([SanmLayer(config.output_size, config) for _ in range(config.num_blocks - 1)])
        self.after_norm = nn.LayerNorm(config.output_size, eps=_EPS)

    def forward(self, features_td: torch.Tensor, at: Windows, lengths: list[int], on_progress: Hook) -> torch.Tensor:
        """Features of clips of these lengths, one after the other, to (t, output_size)."""
        scale = math.sqrt(self.after_norm.normalized_shape[0])
        z_td = features_td * scale + torch.cat([positions(length, features_td) for length in lengths])
        layers = [*self.encoders0, *self.encoders]
        h_cwd = F.pad(z_td, (0, 0, 0, 1))[at.rows]  # index −1 is the row of zeros behind the last
        for done, layer in enumerate(layers):
            on_progress(done / len(layers))
            h_cwd = layer(h_cwd, at)
        out_td: torch.Tensor = self.after_norm(h_cwd.flatten(0, 1)[at.own])
        return out_td


class LinguisticNetwork(nn.Module):
    """The part of the published checkpoint that is needed: its keys, all beginning with `encoder.`."""

    def __init__(self, config: LinguisticConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SanmEncoder(config)


def positions(length: int, like: torch.Tensor) -> torch.Tensor:
    """Sines, then cosines, of positions 1, 2, …: (length, width) for a tensor `like` (t, width)."""
    half = like.shape[1] // 2
    step = -math.log(10000.0) / (half - 1)
    frequencies = torch.exp(torch.arange(half, device=like.device, dtype=like.dtype) * step)
    angles = torch.arange(1, length + 1, device=like.device, dtype=like.dtype)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], 1)
