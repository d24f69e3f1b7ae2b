"""The flow's encoder: token embeddings at 25 Hz to frames at 50 Hz (spec 40 §7 and §12.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.config import EncoderConfig
from editx.engines.step.decoder.conformer import ConformerLayer, KeyValues
from editx.engines.step.decoder.layers import Conv, LayerNorm, Linear

_UP_CONTEXT = 4
_LOOK_BACK = 2


@dataclass(slots=True)
class EncoderState:
    """What a streaming session carries between encoder chunks: two conv contexts and the keys of every layer."""

    lookahead_conv: Tensor
    up_conv: Tensor
    keys: list[KeyValues] = field(default_factory=list)
    up_keys: list[KeyValues] = field(default_factory=list)


class Embed(nn.Module):
    """x = LayerNorm(Linear(x)) * sqrt(D)."""

    def __init__(self, inputs: int, size: int) -> None:
        super().__init__()
        self.out = nn.ModuleList([Linear(inputs, size), LayerNorm(size, 1e-5)])
        self._scale = math.sqrt(size)

    def forward(self, x_btd: Tensor) -> Tensor:
        y: Tensor = self.out[1](self.out[0](x_btd))
        return y * self._scale


class Lookahead(nn.Module):
    """Adds to each frame what the next few frames and the two before say."""

    def __init__(self, size: int, lookahead: int) -> None:
        super().__init__()
        self.conv1 = Conv(size, size, lookahead + 1)
        self.conv2 = Conv(size, size, _LOOK_BACK + 1)

    def forward(self, x_btd: Tensor, before_btd: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n+lookahead, D), the last 2 frames of conv1 so far -> (B, n, D) and the last 2 frames of conv1 now."""
        ahead = F.leaky_relu(self.conv1(x_btd), 0.01)
        ahead = torch.cat([before_btd.to(ahead.dtype), ahead], dim=1)
        y: Tensor = self.conv2(ahead)
        return x_btd[:, : y.shape[1]] + y, ahead[:, -_LOOK_BACK:]


class Upsample(nn.Module):
    """Each frame twice, then a causal convolution."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.conv = Conv(size, size, _UP_CONTEXT + 1)

    def forward(self, x_btd: Tensor, before_btd: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, n, D), the last 4 repeated frames so far -> (B, 2n, D) and the last 4 repeated frames now."""
        repeated = torch.cat([before_btd, x_btd.repeat_interleave(2, dim=1)], dim=1)
        y: Tensor = self.conv(repeated)
        return y, repeated[:, -_UP_CONTEXT:]


class Encoder(nn.Module):
    """Embeddings (B, T, input) -> (B, 2T, D), all attention bidirectional."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        size, heads, hidden = config.output_size, config.heads, config.linear_units
        self.size, self.lookahead = size, config.lookahead
        self.embed = Embed(config.input_size, size)
        self.pre_lookahead_layer = Lookahead(size, config.lookahead)
        self.encoders = nn.ModuleList(ConformerLayer(size, heads, hidden) for _ in range(config.num_blocks))
        self.up_layer = Upsample(size)
        self.up_embed = Embed(size, size)
        self.up_encoders = nn.ModuleList(ConformerLayer(size, heads, hidden) for _ in range(config.num_up_blocks))
        self.after_norm = LayerNorm(size, 1e-5)

    def start(self, device: torch.device) -> EncoderState:
        """The state before the first chunk: zeros, and no keys."""
        return EncoderState(
            lookahead_conv=torch.zeros(1, _LOOK_BACK, self.size, device=device),
            up_conv=torch.zeros(1, _UP_CONTEXT, self.size, device=device),
            keys=[KeyValues() for _ in self.encoders],
            up_keys=[KeyValues() for _ in self.up_encoders],
        )

    def enter(self, xs_bti: Tensor) -> Tensor:
        """Step 1, frame by frame: embeddings (B, T, input) -> (B, T, D)."""
        y: Tensor = self.embed(xs_bti)
        return y

    def forward(self, entered_btd: Tensor) -> Tensor:
        """All frames at once, what `enter` gave (B, T, D) -> (B, 2T, D)."""
        return self._run(F.pad(entered_btd, (0, 0, 0, self.lookahead)), None)

    def chunk(self, entered_btd: Tensor, state: EncoderState, *, last: bool) -> Tensor:
        """The next chunk (1, n+lookahead, D), or the last one (1, n, D), -> (1, 2n, D); updates `state`."""
        if last:
            entered_btd = F.pad(entered_btd, (0, 0, 0, self.lookahead))
        return self._run(entered_btd, state)

    def _run(self, x_btd: Tensor, state: EncoderState | None) -> Tensor:
        before = state or self.start(x_btd.device)
        batch = x_btd.shape[0]
        x_btd, ahead = self.pre_lookahead_layer(x_btd, before.lookahead_conv.expand(batch, -1, -1))
        for layer, keys in zip(self.encoders, before.keys, strict=True):
            x_btd = layer(x_btd, keys if state else None)
        x_btd, repeated = self.up_layer(x_btd, before.up_conv.expand(batch, -1, -1))
        x_btd = self.up_embed(x_btd)
        for layer, keys in zip(self.up_encoders, before.up_keys, strict=True):
            x_btd = layer(x_btd, keys if state else None)
        if state:
            state.lookahead_conv, state.up_conv = ahead.clone(), repeated.clone()
        y: Tensor = self.after_norm(x_btd)
        return y
