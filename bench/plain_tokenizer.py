"""The linguistic encoder as the streaming reference runs it: eager, one chunk after the other, layer by layer.

Written straight from the specification, to compare the one-pass encoder with, in speed and in result. Each chunk
re-reads all weights, carries key and value caches per layer, and is encoded with the five rows before it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch.nn import functional as F

CHUNK, LEFT, LOOK_BACK = 4, 5, 16
EPS = 1e-12

State = Mapping[str, torch.Tensor]
Cache = tuple[torch.Tensor, torch.Tensor]


class PlainLinguisticEncoder:
    """`state`: the checkpoint's tensors, keys beginning with `encoder.`; `heads`: attention heads."""

    def __init__(self, state: State, heads: int = 4) -> None:
        self.heads = heads
        self.size = state["encoder.after_norm.weight"].shape[0]
        self.after_norm = state["encoder.after_norm.weight"], state["encoder.after_norm.bias"]
        blocks = 1 + sum(key.startswith("encoder.encoders.") and key.endswith(".norm1.weight") for key in state)
        prefixes = ["encoder.encoders0.0."] + [f"encoder.encoders.{index}." for index in range(blocks - 1)]
        self.layers = [
            {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix)}
            for prefix in prefixes
        ]

    @torch.inference_mode()
    def encode(self, features_td: torch.Tensor) -> torch.Tensor:
        """Normalised feature rows (t, 560) to encoder output (t, 512), chunk by chunk."""
        left_td = features_td.new_zeros(LEFT, features_td.shape[1])
        empty = features_td.new_zeros(1, self.heads, 0, self.size // self.heads)
        caches: list[Cache] = [(empty, empty) for _ in self.layers]
        outputs = []
        for start in range(0, len(features_td), CHUNK):
            rows_td = features_td[start : start + CHUNK]
            new_td = rows_td * math.sqrt(self.size) + self._positions(start, rows_td)
            chunk_td = torch.cat([left_td, new_td])
            left_td = chunk_td[-LEFT:]
            hidden_btd = chunk_td[None]
            for index, layer in enumerate(self.layers):
                hidden_btd, caches[index] = self._layer(layer, hidden_btd, caches[index])
            hidden_btd = F.layer_norm(hidden_btd, (self.size,), *self.after_norm, eps=EPS)
            outputs.append(hidden_btd[0, LEFT:])
        return torch.cat(outputs) if outputs else features_td.new_zeros(0, self.size)

    @torch.inference_mode()
    def codes(self, features_td: torch.Tensor, codebook_kd: torch.Tensor) -> torch.Tensor:
        """Nearest centroids of the encoder's output: int64 (t,)."""
        return torch.cdist(self.encode(features_td), codebook_kd).argmin(1)

    def _positions(self, start: int, rows_td: torch.Tensor) -> torch.Tensor:
        half = rows_td.shape[1] // 2
        steps = torch.exp(torch.arange(half).float() * (-math.log(10000) / (half - 1)))
        angles = torch.arange(start + 1, start + 1 + len(rows_td)).float()[:, None] * steps
        return torch.cat([angles.sin(), angles.cos()], 1)

    def _layer(self, layer: State, h_btd: torch.Tensor, cache: Cache) -> tuple[torch.Tensor, Cache]:
        def linear(name: str, x: torch.Tensor) -> torch.Tensor:
            return F.linear(x, layer[f"{name}.weight"], layer[f"{name}.bias"])

        def norm(name: str, x: torch.Tensor) -> torch.Tensor:
            return F.layer_norm(x, x.shape[-1:], layer[f"{name}.weight"], layer[f"{name}.bias"], eps=EPS)

        def split_heads(x_btd: torch.Tensor) -> torch.Tensor:
            return x_btd.unflatten(-1, (self.heads, -1)).transpose(1, 2)

        q_btd, k_btd, v_btd = linear("self_attn.linear_q_k_v", norm("norm1", h_btd)).chunk(3, -1)
        k_bhsd = torch.cat([cache[0], split_heads(k_btd)], 2)
        v_bhsd = torch.cat([cache[1], split_heads(v_btd)], 2)
        scores_bhts = split_heads(q_btd) * (self.size // self.heads) ** -0.5 @ k_bhsd.transpose(2, 3)
        mixed_btd = (scores_bhts.softmax(-1) @ v_bhsd).transpose(1, 2).reshape(q_btd.shape)
        kernel = layer["self_attn.fsmn_block.weight"]
        side = kernel.shape[-1] // 2
        memory_bdt = F.conv1d(F.pad(v_btd.transpose(1, 2), (side, side)), kernel, groups=self.size)
        attended_btd = linear("self_attn.linear_out", mixed_btd) + (memory_bdt.transpose(1, 2) + v_btd)
        residual_btd = h_btd + attended_btd if h_btd.shape[-1] == self.size else attended_btd
        fed_btd = linear("feed_forward.w_2", linear("feed_forward.w_1", norm("norm2", residual_btd)).relu())
        kept = (k_bhsd[:, :, :-LEFT][:, :, -LOOK_BACK:], v_bhsd[:, :, :-LEFT][:, :, -LOOK_BACK:])
        return residual_btd + fed_btd, kept
