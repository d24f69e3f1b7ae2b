"""The published vocoder: mel to waveform by a neural source filter and an inverse STFT (spec 50 §1 to §7)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import accumulate
from operator import mul
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.checkpoint import fold_weight_norm, load_strictly
from editx.engines.step.decoder.config import HiftConfig
from editx.engines.step.decoder.convolution import SignalConv, SignalUpsample, from_signal, to_signal
from editx.engines.step.decoder.half_rate import HalfRateConv, merge, split
from editx.engines.step.decoder.layers import Linear, parameter
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.decoder.source import HarmonicSource
from editx.engines.step.decoder.spectrum import Spectrum
from editx.errors import LoadFailed

_LOUDEST = 100.0
_CACHED = 1 << 16
"""Elements one thread keeps in its cache while several passes go over them."""
_SPLIT_FROM = 7
"""Taps from which working on phases saves more than it costs."""


class Snake(nn.Module):
    """x + sin(alpha x)^2 / (alpha + 1e-9), a linear alpha per channel."""

    def __init__(self, channels: int, *, fused: bool) -> None:
        super().__init__()
        self.alpha = parameter(channels)
        self._fused = fused

    def forward(self, x_bc1t: Tensor) -> Tensor:
        if not self._fused:
            alpha = self.alpha[:, None, None]
            return x_bc1t + torch.sin(alpha * x_bc1t) ** 2 * (1 / (alpha + 1e-9))
        rows = x_bc1t.permute(0, 2, 3, 1).reshape(-1, x_bc1t.shape[1])
        out, inverse = torch.empty_like(rows), (self.alpha + 1e-9).reciprocal_()
        # A few rows at a time, so that all five passes but the first find them in the cache.
        at_once = len(rows) if rows.is_cuda else max(_CACHED * torch.get_num_threads() // rows.shape[1], 1)
        for x, y in zip(rows.split(at_once), out.split(at_once), strict=True):
            torch.mul(x, self.alpha, out=y).sin_()
            y.mul_(y).mul_(inverse).add_(x)
        batch, channels, _, frames = x_bc1t.shape
        return out.view(batch, 1, frames, channels).permute(0, 3, 1, 2)


class ResidualBlock(nn.Module):
    """For each dilation: snake, dilated conv, snake, plain conv, added to the input. Length preserving."""

    def __init__(self, channels: int, kernel: int, dilations: tuple[int, ...], *, fused: bool) -> None:
        super().__init__()
        half = (kernel - 1) // 2
        self.convs1 = nn.ModuleList(
            SignalConv(channels, channels, kernel, dilation=d, padding=half * d) for d in dilations
        )
        self.convs2 = nn.ModuleList(SignalConv(channels, channels, kernel, padding=half) for _ in dilations)
        self.activations1 = nn.ModuleList(Snake(channels, fused=fused) for _ in dilations)
        self.activations2 = nn.ModuleList(Snake(channels, fused=fused) for _ in dilations)
        self._splits = kernel >= _SPLIT_FROM and all(HalfRateConv.suits(kernel, d) for d in (1, *dilations))
        self.on_phases = False

    def prepare(self, *, packed: bool, half_rate: bool) -> None:
        """Lay the weights out; `on_phases` says afterwards what `forward` works on."""
        self.on_phases = half_rate and self._splits
        for conv in [*self.convs1, *self.convs2]:
            cast("SignalConv", conv).prepare(packed=packed, half_rate=self.on_phases)

    def forward(self, x_bc1t: Tensor, odd_length: bool) -> Tensor:
        """A signal (B, C, 1, T), or its phases."""
        layers = zip(self.activations1, self.convs1, self.activations2, self.convs2, strict=True)
        for snake1, conv1, snake2, conv2 in layers:
            x_bc1t = conv2(snake2(conv1(snake1(x_bc1t), odd_length)), odd_length).add_(x_bc1t)
        return x_bc1t


def averaged(blocks: Iterable[ResidualBlock], x_bc1t: Tensor) -> Tensor:
    """The mean of what several blocks make of one signal, each fed the way it works."""
    length = x_bc1t.shape[3]
    odd_length = length % 2 == 1
    plain = [block for block in blocks if not block.on_phases]
    phased = [block for block in blocks if block.on_phases]
    parts = []
    if phased:
        phases = split(x_bc1t)
        parts.append(merge(_sum(block(phases, odd_length) for block in phased), length))
    if plain:
        parts.append(_sum(block(x_bc1t, odd_length) for block in plain))
    total = _sum(parts)
    count = len(plain) + len(phased)
    return total if count == 1 else total.div_(count)


def _sum(parts: Iterable[Tensor]) -> Tensor:
    iterator = iter(parts)
    total = next(iterator)
    for part in iterator:
        total.add_(part)
    return total


class F0Predictor(nn.Module):
    """mel (B, 80, T) -> f0 (B, T) in Hz, from five frames of context on each side."""

    def __init__(self, mels: int, channels: int) -> None:
        super().__init__()
        self.condnet = nn.ModuleDict(
            {str(2 * i): SignalConv(mels if i == 0 else channels, channels, 3, padding=1) for i in range(5)}
        )
        self.classifier = Linear(channels, 1)

    def forward(self, mel_bct: Tensor) -> Tensor:
        x = to_signal(mel_bct)
        for conv in self.condnet.values():
            x = F.elu_(conv(x))
        f0: Tensor = self.classifier(from_signal(x).transpose(1, 2))
        return f0.squeeze(2).abs_()


class Hift(nn.Module):
    """Parameters are named as in `hift.pt` with its weight norm folded (`checkpoint.fold_weight_norm`). Build with
    `Hift.load`; read-only afterwards, so safe for several threads."""

    def __init__(self, config: HiftConfig, *, fused_snake: bool = True) -> None:
        super().__init__()
        self.config = config
        self.dtype = torch.float32
        self.hop = math.prod(config.upsample_rates) * config.hop
        base, bins, stages = config.base_channels, config.n_fft + 2, len(config.upsample_rates)
        widths = [base // 2 ** (i + 1) for i in range(stages)]
        self.conv_pre = SignalConv(config.mels, base, 7, padding=3)
        self.ups = nn.ModuleList(
            SignalUpsample(base // 2**i, widths[i], kernel, rate)
            for i, (kernel, rate) in enumerate(zip(config.upsample_kernel_sizes, config.upsample_rates, strict=True))
        )
        strides = list(accumulate([1, *config.upsample_rates[:0:-1]], mul))[::-1]
        self.source_downs = nn.ModuleList(
            SignalConv(bins, width, 1)
            if stride == 1
            else SignalConv(bins, width, 2 * stride, stride=stride, padding=stride // 2)
            for width, stride in zip(widths, strides, strict=True)
        )
        sources = zip(widths, config.source_resblock_kernel_sizes, config.source_resblock_dilation_sizes, strict=True)
        self.source_resblocks = nn.ModuleList(ResidualBlock(w, k, d, fused=fused_snake) for w, k, d in sources)
        kinds = list(zip(config.resblock_kernel_sizes, config.resblock_dilation_sizes, strict=True))
        self.resblocks = nn.ModuleList(ResidualBlock(w, k, d, fused=fused_snake) for w in widths for k, d in kinds)
        self.kinds = len(kinds)
        self.conv_post = SignalConv(widths[-1], bins, 7, padding=3)
        self.m_source = HarmonicSource(config, self.hop)
        self.f0_predictor = F0Predictor(config.mels, config.cond_channels)
        self.spectrum = Spectrum(config.n_fft, config.hop)

    @classmethod
    def load(
        cls, config: HiftConfig, state: Mapping[str, Tensor], *, device: torch.device,
        dtype: torch.dtype = torch.float32, options: DecoderOptions | None = None, where: str = "hift.pt",
    ) -> Hift:  # fmt: skip
        """Build from the tensors of `hift.pt`, weight-normed or folded.

        Raises LoadFailed, naming `where` and the keys, unless all that `config` asks for is there in its shape; more
        than that is reported in the log (spec 50 §2).
        """
        stages = len(config.upsample_rates)
        if {len(config.upsample_kernel_sizes), len(config.source_resblock_kernel_sizes)} != {stages}:
            raise LoadFailed(
                f"the vocoder has {stages} upsample_rates but other numbers of kernel sizes. Use the cosyvoice.yaml "
                f"that came with {where}"
            )
        options = options or DecoderOptions()
        with torch.device("meta"):
            hift = cls(config, fused_snake=options.fused_snake)
        hift.spectrum.to(device)
        load_strictly(hift, fold_weight_norm(state, where), device, where, spare=True)
        with torch.inference_mode():
            hift._prepare(dtype, packed=options.packed_weights, half_rate=options.half_rate_convs)
        return hift.eval()

    def _prepare(self, dtype: torch.dtype, *, packed: bool, half_rate: bool) -> None:
        self.dtype = dtype
        for module in [
            self.conv_pre,
            self.ups,
            self.source_downs,
            self.source_resblocks,
            self.resblocks,
            self.conv_post,
        ]:
            module.to(dtype)
        half_rate = half_rate and self.spectrum.window.device.type == "cpu"
        for block in [*self.source_resblocks, *self.resblocks]:
            cast("ResidualBlock", block).prepare(packed=packed, half_rate=half_rate)
        for conv in [self.conv_pre, self.conv_post, *self.source_downs, *self.f0_predictor.condnet.values()]:
            cast("SignalConv", conv).prepare(packed=packed)

    def f0(self, mel_bct: Tensor) -> Tensor:
        """The pitch of each mel frame in Hz: (B, T)."""
        f0: Tensor = self.f0_predictor(mel_bct)
        return f0

    def forward(self, mel_bct: Tensor, noise_bsh: Tensor, cached_b1s: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """mel (B, 80, T), normal noise (B, 480 T, 9) -> waveform (B, 480 T) and its source (B, 1, 480 T).

        The first samples of the source are replaced by `cached_b1s` where it is given.
        """
        source = self.m_source(self.f0(mel_bct), noise_bsh)
        if cached_b1s is not None:
            source[:, :, : cached_b1s.shape[2]] = cached_b1s
        return self.decode(mel_bct, source), source

    def decode(self, mel_bct: Tensor, source_b1s: Tensor) -> Tensor:
        """Given the source, mel (B, 80, T) -> waveform (B, 480 T) within ± 0.99."""
        limit, bins = self.config.audio_limit, self.config.n_fft // 2 + 1
        spectrum = self.before_synthesis(mel_bct, source_b1s)
        magnitude = spectrum[:, :bins].exp().clamp_(max=_LOUDEST)
        return self.spectrum.synthesise(magnitude, spectrum[:, bins:].sin()).clamp_(-limit, limit)

    def before_synthesis(self, mel_bct: Tensor, source_b1s: Tensor) -> Tensor:
        """The output of `conv_post`: fp32 (B, 18, 120 T + 1), log magnitudes and what the phase is the sine of."""
        stft = to_signal(self.spectrum.analyse(source_b1s.squeeze(1)).to(self.dtype))
        x = self.conv_pre(to_signal(mel_bct.to(self.dtype)))
        last = len(self.ups) - 1
        for i, up in enumerate(self.ups):
            x = up(F.leaky_relu_(x, self.config.lrelu_slope))
            if i == last:
                x = torch.cat([x[..., 1:2], x], dim=3)
            x = x.add_(averaged([self._block(self.source_resblocks, i)], self.source_downs[i](stft)))
            x = averaged([self._block(self.resblocks, i * self.kinds + j) for j in range(self.kinds)], x)
        return from_signal(self.conv_post(F.leaky_relu_(x, 0.01))).float()

    @staticmethod
    def _block(blocks: nn.ModuleList, index: int) -> ResidualBlock:
        return cast("ResidualBlock", blocks[index])
