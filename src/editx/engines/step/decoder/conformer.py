"""The conformer layer of the flow encoder and its relative positions (spec 40 §8)."""

from __future__ import annotations

import math
import threading
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.layers import LayerNorm, Linear, parameter

_LARGEST_TABLE = 2048
_QUERIES = 512
"""Queries that share one square of biases, so that its memory grows with the length and not with its square."""


@dataclass(slots=True)
class KeyValues:
    """The keys and values of one layer, in time order, in a buffer that doubles when it is full."""

    length: int = 0
    _buffer: Tensor = field(default_factory=lambda: torch.empty(0))

    def append(self, k_bhtd: Tensor, v_bhtd: Tensor) -> tuple[Tensor, Tensor]:
        """Add T frames; return all keys and values so far, (B, heads, L, d) views each."""
        end = self.length + k_bhtd.shape[2]
        if not self._buffer.numel() or end > self._buffer.shape[3]:
            batch, heads, _, size = k_bhtd.shape
            grown = k_bhtd.new_empty(2, batch, heads, max(2 * end, 128), size)
            if self.length:
                grown[:, :, :, : self.length] = self._buffer[:, :, :, : self.length]
            self._buffer = grown
        self._buffer[0, :, :, self.length : end] = k_bhtd
        self._buffer[1, :, :, self.length : end] = v_bhtd
        self.length = end
        return self.view()

    def view(self) -> tuple[Tensor, Tensor]:
        return self._buffer[0, :, :, : self.length], self._buffer[1, :, :, : self.length]


def sinusoids(longest: int, nearest: int, size: int, device: torch.device) -> Tensor:
    """E for the distances longest, longest-1, ..., nearest: fp32 (rows, size), sines and cosines in turn."""
    distance = torch.arange(longest, nearest - 1, -1, dtype=torch.float32)
    rate = torch.exp(torch.arange(0, size, 2, dtype=torch.float32) * -(math.log(10000.0) / size))
    angle = distance[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1).to(device)


class Positions:
    """`linear_pos(E)` of one layer for any stretch of distances, kept up to 2,048 frames each way. Thread-safe."""

    def __init__(self, project: Linear, *, cached: bool) -> None:
        self._project = project
        self._cached = cached
        self._lock = threading.Lock()
        self._reach = 0
        self._table = torch.empty(0)

    def between(self, longest: int, nearest: int, device: torch.device) -> Tensor:
        """The projection for distances longest down to nearest: (longest-nearest+1, D)."""
        reach = max(longest, -nearest) + 1
        if not self._cached or reach > _LARGEST_TABLE:
            return self._rows(longest, nearest, device)
        with self._lock:
            if reach > self._reach or self._table.device != device:
                self._reach = min(max(256, 1 << (reach - 1).bit_length()), _LARGEST_TABLE)
                self._table = self._rows(self._reach - 1, 1 - self._reach, device)
            top = self._reach - 1 - longest
            return self._table[top : top + longest - nearest + 1]

    def _rows(self, longest: int, nearest: int, device: torch.device) -> Tensor:
        rows: Tensor = self._project(sinusoids(longest, nearest, self._project.inputs, device))
        return rows


class RelativeAttention(nn.Module):
    """Attention with relative positions; queries stand at the end of the keys."""

    def __init__(self, size: int, heads: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, size // heads
        self.pos_bias_u = parameter(heads, self.head_size)
        self.pos_bias_v = parameter(heads, self.head_size)
        self.linear_q = Linear(size, size)
        self.linear_k = Linear(size, size)
        self.linear_v = Linear(size, size)
        self.linear_out = Linear(size, size)
        self.linear_pos = Linear(size, size, bias=False)
        self.linear_qkv: Linear | None = None
        self.positions = Positions(self.linear_pos, cached=False)

    def fuse(self) -> None:
        """Make query, key and value one product."""
        self.linear_qkv = Linear.joined(self.linear_q, self.linear_k, self.linear_v)
        del self.linear_q, self.linear_k, self.linear_v

    def forward(self, x_btd: Tensor, cache: KeyValues | None) -> Tensor:
        batch, frames, size = x_btd.shape
        heads = (batch, frames, self.heads, self.head_size)
        if self.linear_qkv is not None:
            q, k, v = (part.view(heads) for part in self.linear_qkv(x_btd).split(size, dim=2))
        else:
            q, k, v = (layer(x_btd).view(heads) for layer in (self.linear_q, self.linear_k, self.linear_v))
        k_bhtd, v_bhtd = k.transpose(1, 2), v.transpose(1, 2)
        if cache is not None:
            k_bhtd, v_bhtd = cache.append(k_bhtd, v_bhtd)
        length = k_bhtd.shape[2]
        position = self.positions.between(length - 1, 1 - frames, x_btd.device).view(-1, self.heads, self.head_size)
        parts = []
        for first in range(0, frames, _QUERIES):
            end = min(first + _QUERIES, frames)
            rows = position[frames - end : frames - first + length - 1]
            parts.append(self._attend(q[:, first:end], k_bhtd, v_bhtd, rows))
        y_bhtd = torch.cat(parts, dim=2) if len(parts) > 1 else parts[0]
        out: Tensor = self.linear_out(y_bhtd.transpose(1, 2).reshape(batch, frames, size))
        return out

    def _attend(self, q_bthd: Tensor, k_bhtd: Tensor, v_bhtd: Tensor, position_rhd: Tensor) -> Tensor:
        """Queries that follow each other against all keys; `position_rhd` is for the distances from the last query to
        the first key down to that from the first query to the last key."""
        batch, frames, heads, _ = q_bthd.shape
        length, scale = k_bhtd.shape[2], 1 / math.sqrt(self.head_size)
        bias_q = ((q_bthd + self.pos_bias_v) * scale).to(q_bthd.dtype).transpose(1, 2)
        by_distance = bias_q @ position_rhd.permute(1, 2, 0)
        # Row i of the bias begins at column frames-1-i: a view with one column less per row.
        width = by_distance.shape[3]
        bias = by_distance.as_strided(
            (batch, heads, frames, length),
            (heads * frames * width, frames * width, width - 1, 1),
            by_distance.storage_offset() + frames - 1,
        )
        if bias.is_cuda:  # its fused kernels demand aligned rows
            bias = bias.contiguous()
        content_q = (q_bthd + self.pos_bias_u).to(q_bthd.dtype).transpose(1, 2)
        return F.scaled_dot_product_attention(content_q, k_bhtd, v_bhtd, attn_mask=bias, scale=scale)


class FeedForward(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.w_1 = Linear(size, hidden)
        self.w_2 = Linear(hidden, size)

    def forward(self, x_btd: Tensor) -> Tensor:
        y: Tensor = self.w_2(F.silu(self.w_1(x_btd)))
        return y


class ConformerLayer(nn.Module):
    """Attention and feed-forward, each behind a layer norm of eps 1e-12. fp32 (B, T, D) in and out."""

    def __init__(self, size: int, heads: int, hidden: int) -> None:
        super().__init__()
        self.self_attn = RelativeAttention(size, heads)
        self.feed_forward = FeedForward(size, hidden)
        self.norm_mha = LayerNorm(size, 1e-12)
        self.norm_ff = LayerNorm(size, 1e-12)

    def forward(self, x_btd: Tensor, cache: KeyValues | None = None) -> Tensor:
        x_btd = x_btd + self.self_attn(self.norm_mha(x_btd), cache)
        y: Tensor = x_btd + self.feed_forward(self.norm_ff(x_btd))
        return y
