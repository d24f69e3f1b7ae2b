"""Flow and vocoder in plain eager PyTorch, straight from the specification: what `bench/engine.py` compares ours with.

Nothing is precomputed, fused, packed or kept: time embedding and adaLN projections on every step, `in_proj` of all 320
channels on every step, an all-true attention mask, positions projected on every call, weight norm on every convolution,
caches grown by concatenation. State dicts are those of `flow.pt` and `hift.pt`, unfolded. Formulas: spec 40, 50 and 70.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

State = Mapping[str, Tensor]


@dataclass
class PlainCaches:
    """What the flow carries between chunks: tensors by name, replaced by longer ones as the session goes on."""

    encoder: dict[str, Tensor] = field(default_factory=dict)
    steps: dict[str, Tensor] = field(default_factory=dict)

    def truncate(self, prompt: int, context: int = 96) -> None:
        """Keep the first `context` and the last `prompt` frames; the newest chunk stands first."""
        for name, cached in self.steps.items():
            if name.endswith(("k", "v")) and cached.shape[2] > prompt + context:
                kept = [cached[:, :, :context], cached[:, :, cached.shape[2] - prompt :]]
                self.steps[name] = torch.cat(kept, dim=2)


class PlainFlow:
    """Dual frames to mel. `heads` of the encoder; everything else is read off the shapes."""

    def __init__(self, state: State, *, heads: int = 8, steps: int = 10, guidance: float = 0.7) -> None:
        self.w, self.heads, self.steps, self.guidance = state, heads, steps, guidance
        self.depth = sum(key.endswith("attn.q_norm.weight") for key in state)
        self.blocks = sum(key.startswith("encoder.encoders.") and key.endswith("pos_bias_u") for key in state)
        self.up_blocks = sum(key.startswith("encoder.up_encoders.") and key.endswith("pos_bias_u") for key in state)
        self.lookahead = state["encoder.pre_lookahead_layer.conv1.weight"].shape[2] - 1

    def offline(
        self, prompt_t2: Tensor, dual_t2: Tensor, prompt_mel_btc: Tensor, embedding: Tensor, noise: Tensor
    ) -> Tensor:
        """Dual frames of prompt and target, aligned mel (1, 2P, 80), (1, 192), (1, 80, 2(P+N)) -> mel (1, 80, 2N)."""
        mu = self.encode(torch.cat([prompt_t2, dual_t2]), None, last=True)
        prompt = prompt_mel_btc.shape[1]
        cond = torch.zeros_like(mu)
        cond[:, :prompt] = prompt_mel_btc
        return self.solve(noise, mu, self.speaker(embedding), cond, None)[:, :, prompt:]

    def start(self, dual_t2: Tensor, prompt_mel_btc: Tensor, embedding: Tensor, noise: Tensor) -> PlainCaches:
        """Set a session up with the prompt's dual frames and three of lookahead."""
        caches = PlainCaches()
        mu = self.encode(dual_t2, caches, last=False)
        self.solve(noise, mu, self.speaker(embedding), prompt_mel_btc, caches)
        return caches

    def chunk(
        self, caches: PlainCaches, dual_t2: Tensor, embedding: Tensor, noise: Tensor, prompt: int, *, last: bool
    ) -> Tensor:
        """The next dual frames, with three of lookahead unless `last`, -> mel (1, 80, 2n)."""
        mu = self.encode(dual_t2, caches, last=last)
        mel = self.solve(noise, mu, self.speaker(embedding), torch.zeros_like(mu), caches)
        caches.truncate(prompt)
        return mel

    def speaker(self, embedding: Tensor) -> Tensor:
        return self.linear("spk_embed_affine_layer", F.normalize(embedding, dim=1))

    def linear(self, name: str, x: Tensor) -> Tensor:
        return F.linear(x, self.w[name + ".weight"], self.w.get(name + ".bias"))

    def norm(self, name: str, x: Tensor, eps: float) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], self.w[name + ".weight"], self.w[name + ".bias"], eps)

    def conv(self, name: str, x_bct: Tensor) -> Tensor:
        return F.conv1d(x_bct, self.w[name + ".weight"], self.w[name + ".bias"])

    def encode(self, dual_t2: Tensor, caches: PlainCaches | None, *, last: bool) -> Tensor:
        """Dual frames -> mu (1, 2n, 80)."""
        cache = None if caches is None else caches.encoder
        x = F.embedding(dual_t2[None], self.w["input_embedding.embedding.weight"]).flatten(2)
        x = self.embed("encoder.embed", x)
        size = x.shape[2]
        ahead = x.transpose(1, 2)
        if last:
            ahead = F.pad(ahead, (0, self.lookahead))
        ahead = F.leaky_relu(self.conv("encoder.pre_lookahead_layer.conv1", ahead))
        ahead = torch.cat([self.before(cache, "conv2", size, 2), ahead], dim=2)
        self.keep(cache, "conv2", ahead[:, :, -2:])
        y = self.conv("encoder.pre_lookahead_layer.conv2", ahead).transpose(1, 2)
        x = x[:, : y.shape[1]] + y
        for i in range(self.blocks):
            x = self.conformer(f"encoder.encoders.{i}", x, cache)
        up = x.transpose(1, 2).repeat_interleave(2, dim=2)
        up = torch.cat([self.before(cache, "up", size, 4), up], dim=2)
        self.keep(cache, "up", up[:, :, -4:])
        x = self.embed("encoder.up_embed", self.conv("encoder.up_layer.conv", up).transpose(1, 2))
        for i in range(self.up_blocks):
            x = self.conformer(f"encoder.up_encoders.{i}", x, cache)
        return self.linear("encoder_proj", self.norm("encoder.after_norm", x, 1e-5))

    def before(self, cache: dict[str, Tensor] | None, name: str, size: int, frames: int) -> Tensor:
        zeros = self.w["encoder_proj.weight"].new_zeros(1, size, frames)
        return zeros if cache is None else cache.get(name, zeros)

    @staticmethod
    def keep(cache: dict[str, Tensor] | None, name: str, value: Tensor) -> None:
        if cache is not None:
            cache[name] = value.clone()

    def embed(self, name: str, x: Tensor) -> Tensor:
        y = self.linear(f"{name}.out.0", x)
        return self.norm(f"{name}.out.1", y, 1e-5) * math.sqrt(y.shape[2])

    def conformer(self, name: str, x: Tensor, cache: dict[str, Tensor] | None) -> Tensor:
        x = x + self.relative_attention(name + ".self_attn", self.norm(name + ".norm_mha", x, 1e-12), cache)
        y = F.silu(self.linear(name + ".feed_forward.w_1", self.norm(name + ".norm_ff", x, 1e-12)))
        return x + self.linear(name + ".feed_forward.w_2", y)

    def relative_attention(self, name: str, x: Tensor, cache: dict[str, Tensor] | None) -> Tensor:
        frames, size = x.shape[1:]
        shape = (1, frames, self.heads, size // self.heads)
        q, k, v = (self.linear(f"{name}.linear_{part}", x).view(shape).transpose(1, 2) for part in "qkv")
        if cache is not None:
            if name + "k" in cache:
                k, v = torch.cat([cache[name + "k"], k], dim=2), torch.cat([cache[name + "v"], v], dim=2)
            cache[name + "k"], cache[name + "v"] = k, v
        length = k.shape[2]
        distance = torch.arange(length - 1, -length, -1, dtype=torch.float32, device=x.device)
        rate = torch.exp(torch.arange(0, size, 2, dtype=torch.float32, device=x.device) * -(math.log(10000.0) / size))
        angle = distance[:, None] * rate
        table = torch.stack([angle.sin(), angle.cos()], dim=2).flatten(1)
        p = self.linear(name + ".linear_pos", table).view(1, -1, self.heads, size // self.heads).transpose(1, 2)
        u, b = (self.w[f"{name}.pos_bias_{part}"][None, :, None] for part in "uv")
        by_distance = (q + b) @ p.transpose(2, 3)
        rows = torch.arange(frames, device=x.device)[:, None]
        column = torch.arange(length, device=x.device)[None] + (frames - 1) - rows
        shifted = by_distance.gather(3, column.expand(1, self.heads, -1, -1))
        score = ((q + u) @ k.transpose(2, 3) + shifted) / math.sqrt(size // self.heads)
        y = torch.softmax(score, dim=3) @ v
        return self.linear(name + ".linear_out", y.transpose(1, 2).reshape(1, frames, size))

    def solve(
        self, noise: Tensor, mu_btc: Tensor, spks: Tensor, cond_btc: Tensor, caches: PlainCaches | None
    ) -> Tensor:
        """Ten guided Euler steps; the guided pair is one batch of two, as the specification says."""
        mu, cond = mu_btc.transpose(1, 2), cond_btc.transpose(1, 2)
        span = 1 - torch.cos(torch.linspace(0, 1, self.steps + 1, device=mu.device) * 0.5 * math.pi)
        x, t, dt = noise, span[0], span[1] - span[0]
        for step in range(1, self.steps + 1):
            pair = [torch.cat([part, torch.zeros_like(part)]) for part in (mu, spks, cond)]
            velocity = self.estimate(torch.cat([x, x]), pair[0], t.expand(2), pair[1], pair[2], caches, step)
            conditional, free = velocity.chunk(2)
            x = x + dt * ((1 + self.guidance) * conditional - self.guidance * free)
            t = t + dt
            if step < self.steps:
                dt = span[step + 1] - t
        return x

    def estimate(
        self, x: Tensor, mu: Tensor, t: Tensor, spks: Tensor, cond: Tensor, caches: PlainCaches | None, step: int
    ) -> Tensor:
        """One evaluation of the estimator: (B, 80, T) -> (B, 80, T)."""
        cache = None if caches is None else caches.steps
        root = "decoder.estimator"
        index = torch.arange(128, dtype=torch.float32, device=x.device)
        args = (1000 * t)[:, None] * torch.exp(-math.log(10000.0) * index / 128)
        te = F.silu(self.linear(f"{root}.t_embedder.mlp.0", torch.cat([args.cos(), args.sin()], dim=1)))
        te = F.silu(self.linear(f"{root}.t_embedder.mlp.2", te))[:, None]
        spread = spks[:, :, None].expand_as(x)
        h = self.linear(f"{root}.in_proj", torch.cat([x, mu, spread, cond], dim=1).transpose(1, 2))
        for i in range(self.depth):
            h = self.block(f"{root}.blocks.{i}", h, te, cache, f"{step}.{i}.")
        shift, scale = self.linear(f"{root}.final_layer.adaLN_modulation.1", te).chunk(2, dim=2)
        return self.linear(f"{root}.final_layer.linear", self.modulated(h, shift, scale)).transpose(1, 2)

    @staticmethod
    def modulated(x: Tensor, shift: Tensor, scale: Tensor) -> Tensor:
        return F.layer_norm(x, x.shape[-1:], eps=1e-6) * (1 + scale) + shift

    def block(self, name: str, x: Tensor, te: Tensor, cache: dict[str, Tensor] | None, key: str) -> Tensor:
        m = self.linear(name + ".adaLN_modulation.1", te).chunk(9, dim=2)
        x = x + m[2] * self.attention(name + ".attn", self.modulated(x, m[0], m[1]), cache, key)
        x = x + m[8] * self.conv_branch(name + ".conv.block", self.modulated(x, m[6], m[7]), cache, key)
        y = F.gelu(self.linear(name + ".mlp.fc1", self.modulated(x, m[3], m[4])), approximate="tanh")
        return x + m[5] * self.linear(name + ".mlp.fc2", y)

    def attention(self, name: str, x: Tensor, cache: dict[str, Tensor] | None, key: str) -> Tensor:
        batch, frames, _ = x.shape
        size = self.w[name + ".q_norm.weight"].shape[0]
        q, k, v = (self.linear(f"{name}.to_{part}", x).view(batch, frames, -1, size).transpose(1, 2) for part in "qkv")
        q, k = self.norm(name + ".q_norm", q, 1e-5), self.norm(name + ".k_norm", k, 1e-5)
        if cache is not None:
            if key + "k" in cache:
                k, v = torch.cat([k, cache[key + "k"]], dim=2), torch.cat([v, cache[key + "v"]], dim=2)
            cache[key + "k"], cache[key + "v"] = k, v
        mask = torch.ones(batch, 1, frames, k.shape[2], dtype=torch.bool, device=x.device)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
        return self.linear(name + ".proj", y.transpose(1, 2).reshape(batch, frames, -1))

    def conv_branch(self, name: str, x: Tensor, cache: dict[str, Tensor] | None, key: str) -> Tensor:
        y = self.causal(name + ".1", x.transpose(1, 2), cache, key + "1")
        y = F.mish(self.norm(name + ".3", y.transpose(1, 2), 1e-5))
        return self.causal(name + ".6", y.transpose(1, 2), cache, key + "6").transpose(1, 2)

    def causal(self, name: str, x_bct: Tensor, cache: dict[str, Tensor] | None, key: str) -> Tensor:
        before = None if cache is None else cache.get(key)
        x_bct = F.pad(x_bct, (2, 0)) if before is None else torch.cat([before, x_bct], dim=2)
        if cache is not None:
            cache[key] = x_bct[:, :, -2:].clone()
        return self.conv(name, x_bct)


class PlainHift:
    """mel to waveform with weight norm on every call. Sizes are read off the shapes; rates are the published ones."""

    rates = (8, 5, 3)
    kernels = (3, 7, 11)
    dilations = (1, 3, 5)

    def __init__(self, state: State) -> None:
        self.w = state

    def __call__(self, mel: Tensor, noise: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 80, T) and normal noise (B, 480 T, 9) -> (B, 480 T) and the source (B, 1, 480 T)."""
        source = self.source(self.f0(mel), noise)
        return self.decode(mel, source), source

    def weight(self, name: str) -> Tensor:
        if name + ".weight" in self.w:
            return self.w[name + ".weight"]
        gain, direction = (self.w[f"{name}.parametrizations.weight.original{i}"] for i in (0, 1))
        return direction * (gain / direction.norm(dim=(1, 2), keepdim=True))

    def conv(self, name: str, x: Tensor, *, stride: int = 1, padding: int = 0, dilation: int = 1) -> Tensor:
        return F.conv1d(x, self.weight(name), self.w[name + ".bias"], stride, padding, dilation)

    def f0(self, mel: Tensor) -> Tensor:
        x = mel
        for i in range(0, 10, 2):
            x = F.elu(self.conv(f"f0_predictor.condnet.{i}", x, padding=1))
        name = "f0_predictor.classifier"
        return F.linear(x.transpose(1, 2), self.w[name + ".weight"], self.w[name + ".bias"]).squeeze(2).abs()

    def source(self, f0: Tensor, noise: Tensor) -> Tensor:
        f0 = F.interpolate(f0[:, None], scale_factor=480.0).transpose(1, 2)
        rad = (f0 * torch.arange(1, 10, device=f0.device) / 24000) % 1
        rad = F.interpolate(rad.transpose(1, 2), scale_factor=1 / 480, mode="linear").transpose(1, 2)
        phase = torch.cumsum(rad.double(), dim=1) * 2 * math.pi
        phase = F.interpolate(phase.transpose(1, 2) * 480, scale_factor=480.0, mode="linear").transpose(1, 2)
        sine = 0.1 * torch.sin(phase).float()
        voiced = (f0 > 10).float()
        level = voiced * 0.003 + (1 - voiced) * 0.1 / 3
        sine = sine * voiced + level * noise
        merged = F.linear(sine, self.w["m_source.l_linear.weight"], self.w["m_source.l_linear.bias"])
        return torch.tanh(merged).transpose(1, 2)

    def snake(self, name: str, x: Tensor) -> Tensor:
        alpha = self.w[name + ".alpha"][None, :, None]
        return x + (1.0 / (alpha + 1e-9)) * torch.sin(x * alpha) ** 2

    def residual(self, name: str, x: Tensor, kernel: int) -> Tensor:
        for j, dilation in enumerate(self.dilations):
            y = self.snake(f"{name}.activations1.{j}", x)
            y = self.conv(f"{name}.convs1.{j}", y, padding=(kernel - 1) * dilation // 2, dilation=dilation)
            y = self.snake(f"{name}.activations2.{j}", y)
            x = x + self.conv(f"{name}.convs2.{j}", y, padding=(kernel - 1) // 2)
        return x

    def decode(self, mel: Tensor, source: Tensor) -> Tensor:
        x = self.before_synthesis(mel, source)
        magnitude, phase = torch.exp(x[:, :9]).clamp(max=100), torch.sin(x[:, 9:])
        window = torch.hann_window(16, device=mel.device)
        wave = torch.istft(torch.complex(magnitude * phase.cos(), magnitude * phase.sin()), 16, 4, 16, window)
        return wave.clamp(-0.99, 0.99)

    def before_synthesis(self, mel: Tensor, source: Tensor) -> Tensor:
        """What the inverse STFT is made of: (B, 18, 120 T + 1)."""
        window = torch.hann_window(16, device=mel.device)
        spectrum = torch.stft(source.squeeze(1), 16, 4, 16, window, return_complex=True)
        stft = torch.cat([spectrum.real, spectrum.imag], dim=1)
        x = self.conv("conv_pre", mel, padding=3)
        downs = ((15, 7), (3, 1), (1, 0))
        for i, rate in enumerate(self.rates):
            x = F.leaky_relu(x, 0.1)
            weight = self.weight(f"ups.{i}")
            x = F.conv_transpose1d(x, weight, self.w[f"ups.{i}.bias"], rate, (weight.shape[2] - rate) // 2)
            if i == 2:
                x = F.pad(x, (1, 0), mode="reflect")
            s = self.conv(f"source_downs.{i}", stft, stride=downs[i][0], padding=downs[i][1])
            x = x + self.residual(f"source_resblocks.{i}", s, (7, 7, 11)[i])
            blocks = [self.residual(f"resblocks.{3 * i + j}", x, kernel) for j, kernel in enumerate(self.kernels)]
            x = (blocks[0] + blocks[1] + blocks[2]) / 3
        return self.conv("conv_post", F.leaky_relu(x), padding=3)
