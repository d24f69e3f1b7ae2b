"""Both audio tokenizers' encoders in plain eager PyTorch, straight from the specification, to compare ours with.

The linguistic one runs as the streaming reference does, one chunk after the other, layer by layer: each chunk re-reads
all weights, carries key and value caches per layer, and is encoded with the five rows before it. The semantic one
writes its attention out.
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
        steps = torch.exp(torch.arange(half, device=rows_td.device).float() * (-math.log(10000) / (half - 1)))
        at = torch.arange(start + 1, start + 1 + len(rows_td), device=rows_td.device)
        angles = at.float()[:, None] * steps
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


class PlainSemanticEncoder:
    """`state`: the network's tensors by their canonical names; `heads`: attention heads."""

    def __init__(self, state: State, heads: int = 20) -> None:
        self.w, self.heads = state, heads
        self.blocks = sum(key.endswith(".attn.key.weight") for key in state)

    @torch.inference_mode()
    def encode(self, mel_mt: torch.Tensor) -> torch.Tensor:
        """Log-mel of one part (mels, frames) to the encoder's output, not normalised: (codes, d)."""
        x_bdt = mel_mt[None]
        for conv in ("conv1", "conv2"):
            weight, bias = (self.w[f"encoder.{conv}.{part}"] for part in ("weight", "bias"))
            x_bdt = F.gelu(F.conv1d(x_bdt, weight, bias, stride=2, padding=1))
        x_btd = x_bdt.transpose(1, 2)
        x_btd = x_btd + self.w["encoder.positional_embedding"][: x_btd.shape[1]]
        for index in range(self.blocks):
            name = f"encoder.blocks.{index}"
            x_btd = x_btd + self._attention(f"{name}.attn", self._norm(f"{name}.attn_ln", x_btd))
            fed_btd = F.gelu(self._linear(f"{name}.mlp.0", self._norm(f"{name}.mlp_ln", x_btd)))
            x_btd = x_btd + self._linear(f"{name}.mlp.2", fed_btd)
        return x_btd[0]

    def _linear(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.linear(x, self.w[f"{name}.weight"], self.w.get(f"{name}.bias"))

    def _norm(self, name: str, x: torch.Tensor) -> torch.Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[f"{name}.weight"], self.w[f"{name}.bias"], eps=1e-5)

    def _attention(self, name: str, x_btd: torch.Tensor) -> torch.Tensor:
        q_bhtd, k_bhtd, v_bhtd = (
            self._linear(f"{name}.{part}", x_btd).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for part in ("query", "key", "value")
        )
        scale = q_bhtd.shape[-1] ** -0.25
        scores_bhts = (q_bhtd * scale) @ (k_bhtd * scale).transpose(2, 3)
        mixed_bhtd = scores_bhts.softmax(-1) @ v_bhtd
        return self._linear(f"{name}.out", mixed_bhtd.transpose(1, 2).flatten(2))
