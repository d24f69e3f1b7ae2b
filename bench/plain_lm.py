"""A plain eager layer of the language model, straight from its formulas, to measure the engine's own against.

It does what a first implementation does: the bias square of all positions is built, masked, cast and cut to its last
rows in every call; keys and values are kept by concatenation and repeated for every query head; each projection is a
product of its own.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class PlainSizes:
    """Sizes of a layer; the defaults are the published model's."""

    hidden: int = 3072
    intermediate: int = 8192
    heads: int = 48
    groups: int = 4
    eps: float = 1e-5


Past = tuple[Tensor, Tensor]
"""Keys and values so far, (batch, tokens, groups, head_dim) each."""


def head_slopes(heads: int) -> Tensor:
    """m_h, fp32 (heads,)."""
    n = 2 ** int(math.log2(heads))
    first = [2.0 ** (-8.0 * (h + 1) / n) for h in range(n)]
    rest = [2.0 ** (-4.0 * (2 * r + 1) / n) for r in range(heads - n)]
    return torch.tensor(first + rest)


def bias_square(heads: int, tokens: int, queries: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    """-m_h * sqrt(i - j), -inf above the diagonal: (1, heads, queries, tokens), the last `queries` rows."""
    at = torch.arange(tokens, device=device)
    distance = (at[:, None] - at[None, :]).float()
    square = -head_slopes(heads).to(device)[:, None, None] * distance.clamp(min=0).sqrt()
    square = square.masked_fill(distance < 0, float("-inf"))
    return square[None].to(dtype)[:, :, -queries:]


def randomise(model: nn.Module, random: torch.Generator) -> None:
    """Fill a model's parameters with weights that keep activations near 1."""
    for name, parameter in model.named_parameters():
        if "norm" in name:
            parameter.fill_(1.0)
        else:
            parameter.normal_(std=parameter.shape[-1] ** -0.5, generator=random)


class PlainLayer(nn.Module):
    """One layer; its parameters have the checkpoint's names and shapes."""

    def __init__(self, sizes: PlainSizes, *, dtype: torch.dtype, device: torch.device | str = "cpu") -> None:
        super().__init__()
        self.sizes = sizes
        d, f = sizes.hidden, sizes.intermediate
        self.head_dim = d // sizes.heads
        kv = sizes.groups * self.head_dim

        def linear(inside: int, outside: int) -> nn.Linear:
            return nn.Linear(inside, outside, bias=False, dtype=dtype, device=device)

        self.input_layernorm = nn.Parameter(torch.ones(d, dtype=dtype, device=device))
        self.post_attention_layernorm = nn.Parameter(torch.ones(d, dtype=dtype, device=device))
        self.q_proj, self.k_proj, self.v_proj, self.o_proj = linear(d, d), linear(d, kv), linear(d, kv), linear(d, d)
        self.gate_proj, self.up_proj, self.down_proj = linear(d, f), linear(d, f), linear(f, d)

    def fill(self, weights: Mapping[str, Tensor]) -> None:
        """Take a layer's weights, by key within the layer of a checkpoint."""
        for key, weight in weights.items():
            name = key.removeprefix("self_attn.").removeprefix("mlp.")
            self.get_parameter(name.removesuffix(".weight") if "norm" in name else name).data.copy_(weight)

    def forward(self, x_bsd: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        """The layer's output, and keys and values with the new tokens behind the old ones."""
        attended, past = self._attention(self._norm(x_bsd, self.input_layernorm), past)
        x_bsd = x_bsd + attended
        h_bsd = self._norm(x_bsd, self.post_attention_layernorm)
        return x_bsd + self.down_proj(F.silu(self.gate_proj(h_bsd)) * self.up_proj(h_bsd)), past

    def _norm(self, x_bsd: Tensor, weight: Tensor) -> Tensor:
        mean = x_bsd.float().pow(2).mean(-1, keepdim=True)
        return x_bsd * torch.rsqrt(mean + self.sizes.eps).to(x_bsd.dtype) * weight

    def _attention(self, x_bsd: Tensor, past: Past | None) -> tuple[Tensor, Past]:
        b, s, d = x_bsd.shape
        q = self.q_proj(x_bsd).view(b, s, self.sizes.heads, self.head_dim)
        k = self.k_proj(x_bsd).view(b, s, self.sizes.groups, self.head_dim)
        v = self.v_proj(x_bsd).view(b, s, self.sizes.groups, self.head_dim)
        if past is not None:
            k, v = torch.cat([past[0], k], dim=1), torch.cat([past[1], v], dim=1)
        repeats = self.sizes.heads // self.sizes.groups
        keys = k.repeat_interleave(repeats, dim=2).transpose(1, 2)
        values = v.repeat_interleave(repeats, dim=2).transpose(1, 2)
        scores = q.transpose(1, 2) @ keys.transpose(-1, -2) / math.sqrt(self.head_dim)
        scores = scores + bias_square(self.sizes.heads, keys.shape[2], s, scores.dtype, x_bsd.device)
        weights = torch.softmax(scores.float(), dim=-1).to(x_bsd.dtype)
        y = (weights @ values).transpose(1, 2).reshape(b, s, d)
        return self.o_proj(y), (k, v)
