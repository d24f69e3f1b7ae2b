"""The semantic tokenizer's network: a Whisper encoder of six blocks before a codebook (spec 30 §6.2)."""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import nn
from torch.nn import functional as F

from editx.engines.step.decoder.layers import Linear
from editx.engines.step.tokenizers.codebook import nearest
from editx.errors import LoadFailed

_EPS = 1e-5


@dataclass(frozen=True, slots=True)
class SemanticConfig:
    """Sizes of the network; the published ones by default."""

    n_mels: int = 128
    n_audio_ctx: int = 1500
    n_audio_state: int = 1280
    n_audio_head: int = 20
    n_audio_layer: int = 6
    n_codebook_size: int = 4096

    def __post_init__(self) -> None:
        for each in fields(self):
            if getattr(self, each.name) < 1:
                raise LoadFailed(f"the semantic tokenizer's {each.name} is positive, not {getattr(self, each.name)}")
        if self.n_audio_state % self.n_audio_head:
            raise LoadFailed(
                f"the semantic tokenizer's width {self.n_audio_state} is not divisible by its {self.n_audio_head} heads"
            )


def code_count(frames: int) -> int:
    """Codes of a part with this many log-mel frames, at least one: each convolution halves them, rounding up."""
    return ((frames - 1) // 2) // 2 + 1 if frames else 0


class SelfAttention(nn.Module):
    """Full attention; the key projection has no bias."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        size = config.n_audio_state
        self.heads = config.n_audio_head
        self.query = Linear(size, size)
        self.key = Linear(size, size, bias=False)
        self.value = Linear(size, size)
        self.out = Linear(size, size)

    def forward(self, x_btd: torch.Tensor, mask_bt: torch.Tensor | None) -> torch.Tensor:
        """(b, t, d) to (b, t, d); `mask_bt`, when rows are padded, is True where they are not."""
        q_bhtd, k_bhtd, v_bhtd = (
            projection(x_btd).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.query, self.key, self.value)
        )
        mask = None if mask_bt is None else mask_bt[:, None, None]
        mixed_bhtd = F.scaled_dot_product_attention(q_bhtd, k_bhtd, v_bhtd, attn_mask=mask)
        out_btd: torch.Tensor = self.out(mixed_bhtd.transpose(1, 2).flatten(2))
        return out_btd


class Block(nn.Module):
    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        size = config.n_audio_state
        self.attn_ln = nn.LayerNorm(size, eps=_EPS)
        self.attn = SelfAttention(config)
        self.mlp_ln = nn.LayerNorm(size, eps=_EPS)
        self.mlp = nn.Sequential(Linear(size, 4 * size), nn.GELU(), Linear(4 * size, size))

    def forward(self, x_btd: torch.Tensor, mask_bt: torch.Tensor | None) -> torch.Tensor:
        x_btd = x_btd + self.attn(self.attn_ln(x_btd), mask_bt)
        out_btd: torch.Tensor = x_btd + self.mlp(self.mlp_ln(x_btd))
        return out_btd


class SemanticEncoder(nn.Module):
    """Two strided convolutions, learnt positions, blocks; no final norm."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        size = config.n_audio_state
        self.conv1 = nn.Conv1d(config.n_mels, size, 3, stride=2, padding=1)
        self.conv2 = nn.Conv1d(size, size, 3, stride=2, padding=1)
        self.positional_embedding = nn.Parameter(torch.zeros(config.n_audio_ctx, size))
        self.blocks = nn.ModuleList([Block(config) for _ in range(config.n_audio_layer)])

    def forward(self, mel_bmt: torch.Tensor, frames_b: torch.Tensor | None = None) -> torch.Tensor:
        """Log-mel (b, mels, frames) to (b, code_count(frames), d).

        `frames_b` int64 (b,) says how many frames of each item count when the rest is padding; None means all of them.
        Rows behind an item's own are of no meaning.
        """
        x_btd = F.gelu(_halve(mel_bmt.transpose(1, 2), self.conv1))
        mask_bt = None
        if frames_b is not None:
            # What the second convolution meets behind the end must be zero, as it is for an item alone.
            half_b = (frames_b + 1) // 2
            x_btd = x_btd * _first(half_b, x_btd.shape[1])[..., None]
            mask_bt = _first((half_b + 1) // 2, (x_btd.shape[1] + 1) // 2)
        x_btd = F.gelu(_halve(x_btd, self.conv2))
        x_btd = x_btd + self.positional_embedding[: x_btd.shape[1]]
        for block in self.blocks:
            x_btd = block(x_btd, mask_bt)
        return x_btd


def _halve(x_btc: torch.Tensor, conv: nn.Conv1d) -> torch.Tensor:
    """A convolution of kernel 3 and stride 2 as a matrix product, out of cuDNN's reach: (b, t, c) to (b, ⌈t/2⌉, d)."""
    taps_btck = F.pad(x_btc, (0, 0, 1, 1)).unfold(1, 3, 2)
    return F.linear(taps_btck.flatten(2), conv.weight.flatten(1), conv.bias)


def _first(counts_b: torch.Tensor, length: int) -> torch.Tensor:
    """bool (b, length): True at the first `counts_b` places of each row."""
    return torch.arange(length, device=counts_b.device) < counts_b[:, None]


class Codebook(nn.Module):
    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.zeros(config.n_codebook_size, config.n_audio_state))


class Quantizer(nn.Module):
    """Nearest entry of the codebook to the normalised row; the entries themselves are not normalised."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self._codebook = Codebook(config)

    def forward(self, x_td: torch.Tensor) -> torch.Tensor:
        """(t, d) to int64 (t,)."""
        return nearest(F.normalize(x_td, eps=1e-12), self._codebook.embed)


class SemanticNetwork(nn.Module):
    """Encoder and quantizer; parameter names are the canonical ones of spec 30 §6.2."""

    def __init__(self, config: SemanticConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = SemanticEncoder(config)
        self.quantizer = Quantizer(config)
