"""The alternative vocoder (spec 50 §8): BigVGAN, anti-aliased snakes and no source."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.checkpoint import fold_weight_norm, load_strictly
from editx.engines.step.decoder.config import BigVGANConfig
from editx.engines.step.decoder.layers import parameter

EDGE_FRAMES = 3
"""Mel frames `conv_pre` eats on each side; callers reflect that many."""

_TAPS = 12


def kaiser_filter() -> Tensor:
    """The 12-tap low-pass of both resamplings: cutoff 0.25, half-width 0.3, sum 1. fp32 (12,)."""
    cutoff, half_width = 0.25, 0.3
    attenuation = 2.285 * (_TAPS // 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    time = torch.arange(-_TAPS // 2, _TAPS // 2, dtype=torch.float32) + 0.5
    window = torch.kaiser_window(_TAPS, periodic=False, beta=beta, dtype=torch.float32)
    taps = 2 * cutoff * window * torch.sinc(2 * cutoff * time)
    return taps / taps.sum()


class SnakeBeta(nn.Module):
    """x + sin(a x)^2 / (b + 1e-9); a and b per channel, stored as logarithms or not. `snake` has a for both."""

    def __init__(self, channels: int, config: BigVGANConfig) -> None:
        super().__init__()
        self.alpha = parameter(channels)
        self._log, self._both = config.snake_logscale, config.activation == "snake"
        if not self._both:
            self.beta = parameter(channels)

    def forward(self, x_bct: Tensor) -> Tensor:
        alpha = self.alpha[:, None]
        beta = alpha if self._both else self.beta[:, None]
        if self._log:
            alpha, beta = alpha.exp(), beta.exp()
        y = (x_bct * alpha).sin_()
        return torch.addcmul(x_bct, y, y / (beta + 1e-9))


class AntiAliased(nn.Module):
    """Twice the rate, the activation, and back (B, C, T)."""

    filter: Tensor

    def __init__(self, channels: int, config: BigVGANConfig) -> None:
        super().__init__()
        self.act = SnakeBeta(channels, config)
        self.register_buffer("filter", torch.empty(1, 1, _TAPS), persistent=False)

    def forward(self, x_bct: Tensor) -> Tensor:
        channels = x_bct.shape[1]
        taps = self.filter.expand(channels, -1, -1)
        up = F.conv_transpose1d(F.pad(x_bct, (5, 5), mode="replicate"), taps, stride=2, groups=channels)
        y = self.act(2 * up[..., 15:-15])
        return F.conv1d(F.pad(y, (5, 6), mode="replicate"), taps, stride=2, groups=channels)


class Conv1d(nn.Module):
    """A plain convolution (B, C, T), folded weight (out, in, k)."""

    weight: Tensor
    bias: Tensor | None

    def __init__(
        self, inputs: int, outputs: int, kernel: int, *, dilation: int = 1, padding: int = 0, bias: bool = True
    ) -> None:
        super().__init__()
        self.weight = parameter(outputs, inputs, kernel)
        self.bias = parameter(outputs) if bias else None
        self._dilation, self._padding = dilation, padding

    def forward(self, x_bct: Tensor) -> Tensor:
        return F.conv1d(x_bct, self.weight, self.bias, padding=self._padding, dilation=self._dilation)


class Up1d(nn.Module):
    """A transposed convolution (B, C, T), folded weight (in, out, k)."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.weight, self.bias = parameter(inputs, outputs, kernel), parameter(outputs)
        self._stride, self._padding = stride, (kernel - stride) // 2

    def forward(self, x_bct: Tensor) -> Tensor:
        return F.conv_transpose1d(x_bct, self.weight, self.bias, self._stride, self._padding)


class AmpBlock1(nn.Module):
    """Per dilation: activation, dilated conv, activation, plain conv, residual. Activations interleave."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], config: BigVGANConfig) -> None:
        super().__init__()
        half = (kernel - 1) // 2
        self.convs1 = nn.ModuleList(Conv1d(channels, channels, kernel, dilation=d, padding=half * d) for d in dilations)
        self.convs2 = nn.ModuleList(Conv1d(channels, channels, kernel, padding=half) for _ in dilations)
        self.activations = nn.ModuleList(AntiAliased(channels, config) for _ in range(2 * len(dilations)))

    def forward(self, x_bct: Tensor) -> Tensor:
        for j, (conv1, conv2) in enumerate(zip(self.convs1, self.convs2, strict=True)):
            y = conv1(self.activations[2 * j](x_bct))
            x_bct = x_bct + conv2(self.activations[2 * j + 1](y))
        return x_bct


class AmpBlock2(nn.Module):
    """Per dilation: activation, dilated conv, residual."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], config: BigVGANConfig) -> None:
        super().__init__()
        half = (kernel - 1) // 2
        self.convs = nn.ModuleList(Conv1d(channels, channels, kernel, dilation=d, padding=half * d) for d in dilations)
        self.activations = nn.ModuleList(AntiAliased(channels, config) for _ in dilations)

    def forward(self, x_bct: Tensor) -> Tensor:
        for conv, activation in zip(self.convs, self.activations, strict=True):
            x_bct = x_bct + conv(activation(x_bct))
        return x_bct


class BigVGAN(nn.Module):
    """mel (B, 80, T), already reflected by 3 frames where it ends -> waveform (B, hop * (T - 6)). fp32.

    Parameters are named as in the checkpoint with its weight norm folded. Build with `BigVGAN.load`.
    """

    def __init__(self, config: BigVGANConfig) -> None:
        super().__init__()
        self.config = config
        self.hop = math.prod(config.upsample_rates)
        widths = [config.upsample_initial_channel // 2**i for i in range(len(config.upsample_rates) + 1)]
        self.conv_pre = Conv1d(config.num_mels, widths[0], 2 * EDGE_FRAMES + 1)
        sizes = zip(pairwise(widths), config.upsample_kernel_sizes, config.upsample_rates, strict=True)
        self.ups = nn.ModuleList(nn.ModuleList([Up1d(a, b, kernel, rate)]) for (a, b), kernel, rate in sizes)
        block = AmpBlock1 if config.resblock == "1" else AmpBlock2
        kinds = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.kinds = len(kinds)
        self.resblocks = nn.ModuleList(block(w, k, d, config) for w in widths[1:] for k, d in kinds)
        self.activation_post = AntiAliased(widths[-1], config)
        self.conv_post = Conv1d(widths[-1], 1, 7, padding=3, bias=config.use_bias_at_final)

    @classmethod
    def load(
        cls, config: BigVGANConfig, state: Mapping[str, Tensor], *, device: torch.device, where: str = "hift.pt"
    ) -> BigVGAN:
        """Build from the checkpoint's tensors; its filter buffers are constants and computed anew.

        Raises LoadFailed, naming `where` and the keys, unless all that `config` asks for is there in its shape; more
        than that is reported in the log (spec 50 §2).
        """
        with torch.device("meta"):
            vocoder = cls(config)
        tensors = {key: tensor for key, tensor in state.items() if not _is_filter(key)}
        load_strictly(vocoder, fold_weight_norm(tensors, where), device, where, spare=True)
        taps = kaiser_filter().view(1, 1, _TAPS).to(device)
        for module in vocoder.modules():
            if isinstance(module, AntiAliased):
                module.filter = taps
        return vocoder.eval()

    def forward(self, mel_bct: Tensor) -> Tensor:
        x = self.conv_pre(mel_bct)
        for i, up in enumerate(self.ups):
            x = up[0](x)  # type: ignore[index]
            blocks = self.resblocks[i * self.kinds : (i + 1) * self.kinds]
            x = torch.stack([block(x) for block in blocks]).mean(0)
        x = self.conv_post(self.activation_post(x)).squeeze(1)
        return torch.tanh(x) if self.config.use_tanh_at_final else x.clamp(-1, 1)


def _is_filter(key: str) -> bool:
    return key.endswith((".upsample.filter", ".downsample.lowpass.filter"))
