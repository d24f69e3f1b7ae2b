"""The velocity estimator: a diffusion transformer over mel frames (spec 40 §9 and §12.2)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.config import DiTConfig
from editx.engines.step.decoder.estimator_cache import CONV_CONTEXT, BlockCache
from editx.engines.step.decoder.layers import Conv, LayerNorm, Linear

_MOD_EPS = 1e-6
_FREQUENCIES = 128
_BRANCH_CONTEXT = 2 * CONV_CONTEXT


@dataclass(frozen=True, slots=True)
class Modulation:
    """How time modulates one branch: LN(x) * scale + shift before it, times gate after it.

    `scale` has the 1 of (1 + scale) in it. Vectors (C,) where all rows share a time, else (B, 1, C). fp32.
    """

    scale: Tensor
    shift: Tensor
    gate: Tensor

    def __call__(self, x_btc: Tensor) -> Tensor:
        size = x_btc.shape[-1:]
        if self.scale.dim() == 1:  # the layer norm's own affine does it in one pass
            return F.layer_norm(x_btc, size, self.scale, self.shift, _MOD_EPS)
        return F.layer_norm(x_btc, size, eps=_MOD_EPS) * self.scale + self.shift


@dataclass(frozen=True, slots=True)
class BlockModulation:
    attention: Modulation
    conv: Modulation
    mlp: Modulation


@dataclass(frozen=True, slots=True)
class StepModulation:
    """Everything about one time: a modulation per block and the final layer's."""

    blocks: tuple[BlockModulation, ...]
    final: Modulation


class TimeEmbedder(nn.Module):
    """t (n,) in 0..1 -> (n, C): a fixed sinusoid of 1000 t, then Linear, SiLU, Linear."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.mlp = nn.ModuleDict({"0": Linear(2 * _FREQUENCIES, size), "2": Linear(size, size)})

    def forward(self, t_b: Tensor) -> Tensor:
        index = torch.arange(_FREQUENCIES, dtype=torch.float32, device=t_b.device)
        args = (t_b.float() * 1000)[:, None] * torch.exp(-math.log(10000.0) * index / _FREQUENCIES)
        y: Tensor = self.mlp["2"](F.silu(self.mlp["0"](torch.cat([args.cos(), args.sin()], dim=1))))
        return y


class Attention(nn.Module):
    def __init__(self, size: int, heads: int, head_size: int) -> None:
        super().__init__()
        self.heads, self.head_size = heads, head_size
        inner = heads * head_size
        self.to_q, self.to_k, self.to_v = Linear(size, inner), Linear(size, inner), Linear(size, inner)
        self.q_norm, self.k_norm = LayerNorm(head_size, 1e-5), LayerNorm(head_size, 1e-5)
        self.proj = Linear(inner, size)
        self.to_qkv: Linear | None = None

    def fuse(self) -> None:
        """Make query, key and value one product."""
        self.to_qkv = Linear.joined(self.to_q, self.to_k, self.to_v)
        del self.to_q, self.to_k, self.to_v

    def forward(self, x_btc: Tensor, cache: BlockCache | None, start: int) -> Tensor:
        """Frames from `start` on attend to all frames and to the cache."""
        batch, frames, _ = x_btc.shape
        shape = (batch, frames, self.heads, self.head_size)
        if self.to_qkv is not None:
            q, k, v = self.to_qkv(x_btc).view(batch, frames, 3, self.heads, self.head_size).unbind(2)
        else:
            q, k, v = (layer(x_btc).view(shape) for layer in (self.to_q, self.to_k, self.to_v))
        q_bhtd = self.q_norm(q[:, start:]).to(v.dtype).transpose(1, 2)
        k_bhtd = self.k_norm(k).to(v.dtype).transpose(1, 2)
        v_bhtd = v.transpose(1, 2)
        if cache is not None:
            k_bhtd, v_bhtd = cache.extend(k_bhtd, v_bhtd)
        y = F.scaled_dot_product_attention(q_bhtd, k_bhtd, v_bhtd)
        out: Tensor = self.proj(y.transpose(1, 2).reshape(batch, frames - start, -1))
        return out


class ConvBranch(nn.Module):
    """Causal conv, layer norm, Mish, causal conv."""

    def __init__(self, size: int) -> None:
        super().__init__()
        kernel = CONV_CONTEXT + 1
        self.block = nn.ModuleDict(
            {"1": Conv(size, size, kernel), "3": LayerNorm(size, 1e-5), "6": Conv(size, size, kernel)}
        )

    def forward(self, x_btc: Tensor, cache: BlockCache | None) -> Tensor:
        y = self.block["1"](self._after(x_btc, cache, 0))
        y = F.mish(self.block["3"](y))
        out: Tensor = self.block["6"](self._after(y, cache, 1))
        return out

    def _after(self, x_btc: Tensor, cache: BlockCache | None, which: int) -> Tensor:
        """The frames behind the two before them, which are zeros at the very start."""
        if cache is None:
            return F.pad(x_btc, (0, 0, CONV_CONTEXT, 0))
        before = cache.convs[which]
        padded = torch.cat([before, x_btc.to(before.dtype)], dim=1)
        if cache.store:
            before.copy_(padded[:, -CONV_CONTEXT:])
        return padded


class Mlp(nn.Module):
    def __init__(self, size: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = Linear(size, hidden), Linear(hidden, size)

    def forward(self, x_btc: Tensor) -> Tensor:
        y: Tensor = self.fc2(self.fc1(x_btc, gelu=True))
        return y


class Block(nn.Module):
    """Attention, conv and MLP branches, in that order. Works in place on x, fp32 (B, T, C)."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        size = config.hidden_size
        self.attn = Attention(size, config.num_heads, config.head_dim)
        self.mlp = Mlp(size, int(size * config.mlp_ratio))
        self.conv = ConvBranch(size)
        self.adaLN_modulation = nn.ModuleDict({"1": Linear(size, 9 * size)})

    def forward(self, x_btc: Tensor, mod: BlockModulation, cache: BlockCache | None, start: int) -> Tensor:
        """Frames from `start` on; those before it only serve as keys, values and conv context."""
        y = self.attn(mod.attention(x_btc), cache, start)
        x_btc = x_btc[:, start:].addcmul_(y, mod.attention.gate)
        x_btc.addcmul_(self.conv(mod.conv(x_btc), cache), mod.conv.gate)
        return x_btc.addcmul_(self.mlp(mod.mlp(x_btc)), mod.mlp.gate)


class FinalLayer(nn.Module):
    def __init__(self, size: int, outputs: int) -> None:
        super().__init__()
        self.adaLN_modulation = nn.ModuleDict({"1": Linear(size, 2 * size)})
        self.linear = Linear(size, outputs)

    def forward(self, x_btc: Tensor, mod: Modulation) -> Tensor:
        y: Tensor = self.linear(mod(x_btc))
        return y.float()


class DiT(nn.Module):
    """x, mu, speaker and prompt mel at a time t -> velocity."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        self.t_embedder = TimeEmbedder(config.hidden_size)
        self.in_proj = Linear(config.in_channels, config.hidden_size)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.depth))
        self.final_layer = FinalLayer(config.hidden_size, config.out_channels)

    def modulation(self, t_b: Tensor) -> StepModulation:
        """The modulation of times (B,), one per row; vectors for a single time, which then holds for all rows."""
        te = F.silu(self.t_embedder(t_b))

        def parts(ada: nn.ModuleDict, count: int) -> list[Tensor]:
            vectors = ada["1"](te)
            vectors = vectors[0] if len(te) == 1 else vectors[:, None]
            return list(vectors.chunk(count, dim=-1))

        def one(shift: Tensor, scale: Tensor, gate: Tensor) -> Modulation:
            return Modulation((1 + scale).contiguous(), shift.contiguous(), gate.contiguous())

        blocks = []
        for block in self.blocks:
            p = parts(cast("Block", block).adaLN_modulation, 9)
            blocks.append(BlockModulation(attention=one(*p[0:3]), mlp=one(*p[3:6]), conv=one(*p[6:9])))
        shift, scale = parts(self.final_layer.adaLN_modulation, 2)
        return StepModulation(tuple(blocks), one(shift, scale, scale))

    def drop_modulation(self) -> None:
        """Free the third of the weights that only `modulation` needs."""
        del self.t_embedder, self.final_layer.adaLN_modulation
        for block in self.blocks:
            del block.adaLN_modulation

    def run(
        self, h_btc: Tensor, mod: StepModulation, caches: list[BlockCache] | None = None, keep: int | None = None
    ) -> Tensor:
        """What `in_proj` gave, fp32 (B, T, C), overwritten -> velocity (B, T, out), or of the last `keep` frames."""
        last = len(self.blocks) - 1
        for index, block in enumerate(self.blocks):
            start = 0 if keep is None or index < last else max(h_btc.shape[1] - keep - _BRANCH_CONTEXT, 0)
            h_btc = block(h_btc, mod.blocks[index], caches[index] if caches else None, start)
        if keep is not None:
            h_btc = h_btc[:, h_btc.shape[1] - keep :]
        y: Tensor = self.final_layer(h_btc, mod.final)
        return y

    def forward(
        self, x_bct: Tensor, mu_bct: Tensor, t_b: Tensor, spks_bc: Tensor, cond_bct: Tensor,
        caches: list[BlockCache] | None = None,
    ) -> Tensor:  # fmt: skip
        """One evaluation straight from the definition: all (B, 80, T), t (B,), spks (B, 80) -> (B, 80, T)."""
        spks_bct = spks_bc[:, :, None].expand_as(x_bct)
        h_btc = self.in_proj(torch.cat([x_bct, mu_bct, spks_bct, cond_bct], dim=1).transpose(1, 2)).float()
        return self.run(h_btc, self.modulation(t_b), caches).transpose(1, 2)
