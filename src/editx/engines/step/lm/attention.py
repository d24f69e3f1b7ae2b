"""Attention with a square-root distance bias, and the norm in front of it (spec 10 §4)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def slopes(heads: int) -> list[float]:
    """m_h of every head: the loss of score per square root of distance."""
    n = 1 << (heads.bit_length() - 1)
    return [2.0 ** (-8 * (h + 1) / n) for h in range(n)] + [2.0 ** (-4 * (2 * r + 1) / n) for r in range(heads - n)]


class DistanceBias:
    """Makes the bias of attention scores from one small table, once per step for all layers.

    Bias and mask in one: fp32 (rows, groups, heads per group x queries, keys), -m_h * sqrt(i - j), and -inf where the
    key is behind the query.
    """

    def __init__(self, heads: int, groups: int, max_tokens: int, device: torch.device) -> None:
        self.slopes_gh11 = torch.tensor(slopes(heads), dtype=torch.float32, device=device).view(groups, -1, 1, 1)
        distance = torch.arange(max_tokens, dtype=torch.float64)
        self.roots_t = -distance.sqrt().to(torch.float32).to(device)
        self.keys_t = torch.arange(max_tokens, device=device)

    def at(self, positions_bs: Tensor, keys: int) -> Tensor:
        """For queries at `positions_bs` (int64) against keys 0 to `keys` - 1 of their own rows. No synchronisation."""
        distance_bst = positions_bs[:, :, None] - self.keys_t[:keys]
        roots_bst = self.roots_t[distance_bst.clamp(min=0)].masked_fill_(distance_bst < 0, float("-inf"))
        bias_bghst = roots_bst[:, None, None] * self.slopes_gh11
        return bias_bghst.flatten(2, 3)


def attend(q_bgrd: Tensor, k_bgtd: Tensor, v_bgtd: Tensor, bias_bgrt: Tensor) -> Tensor:
    """softmax(q k^T / sqrt(d) + bias) v, in the dtype of q; scores, bias and softmax are fp32 whatever that is.

    All query heads of a group, and all queries of a chunk, are rows `r` against the group's one set of keys and
    values, which are never repeated.
    """
    scale = q_bgrd.shape[-1] ** -0.5
    if q_bgrd.device.type == "cpu":
        return F.scaled_dot_product_attention(q_bgrd, k_bgtd, v_bgtd, attn_mask=bias_bgrt, scale=scale)
    b, g, r, d = q_bgrd.shape
    if q_bgrd.device.type == "cuda" and q_bgrd.dtype != torch.float32:
        # The products are exact in fp32; rounding the scores to bfloat16 would cost as much as the bias itself.
        k_bdt = k_bgtd.reshape(b * g, -1, d).transpose(1, 2)
        scores = torch.bmm(q_bgrd.reshape(b * g, r, d), k_bdt, out_dtype=torch.float32).view(b, g, r, -1)
    else:
        scores = q_bgrd.float() @ k_bgtd.float().transpose(-1, -2)
    weights_bgrt = torch.softmax(torch.add(bias_bgrt, scores, alpha=scale), dim=-1)
    return weights_bgrt.to(q_bgrd.dtype) @ v_bgtd


class RMSNorm(torch.nn.Module):
    """Root-mean-square norm; key `weight`, (size,)."""

    def __init__(self, size: int, eps: float, *, fused: bool, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.empty(size, device=device, dtype=dtype), requires_grad=False)
        self.eps = eps
        self.fused = fused

    def forward(self, x_bsd: Tensor) -> Tensor:
        if self.fused and x_bsd.dtype != torch.float32 and x_bsd.device.type != "cpu":
            return F.rms_norm(x_bsd, self.weight.shape, self.weight, self.eps)
        mean_bs1 = x_bsd.float().square().mean(-1, keepdim=True)
        # The reference rounds the reciprocal root before it multiplies.
        return x_bsd * torch.rsqrt(mean_bs1 + self.eps).to(x_bsd.dtype) * self.weight
