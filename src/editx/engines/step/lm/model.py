"""The Step1 decoder, its parameters named as in the checkpoint (spec 10 §3 and §4)."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.lm.attention import DistanceBias, RMSNorm, attend
from editx.engines.step.lm.cache import KeyValueCache, Window
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.int4 import Int4Linear
from editx.engines.step.lm.linear import Linear, Projection, projection, together, write_out
from editx.engines.step.lm.nf4 import Nf4Linear, checkpoint_key
from editx.engines.step.lm.switches import Switches

CHUNK, CPU_CHUNK, MIN_CHUNK = 512, 128, 64
"""Tokens of a prompt computed at once."""
SCORES = 1 << 26
"""Attention scores of one layer held at once, in fp32 where the device has no fused attention with a bias."""


class Attention(nn.Module):
    """Grouped attention over a cache; keys `q_proj`, `k_proj`, `v_proj`, `o_proj`."""

    def __init__(
        self, config: LanguageModelConfig, switches: Switches, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        d, kv = config.hidden_size, config.kv_size
        self.groups, self.head_dim = config.groups, config.head_dim
        self.sizes = [d, kv, kv]

        def linear(out_features: int) -> Projection:
            return projection(
                d, out_features, config.quantization, kernels=switches.quantized_kernels, device=device, dtype=dtype
            )

        self.q_proj, self.k_proj, self.v_proj, self.o_proj = linear(d), linear(kv), linear(kv), linear(d)
        self.qkv = together((self.q_proj, self.k_proj, self.v_proj), join=switches.joined_projections)

    def forward(self, x_bsd: Tensor, layer: int, window: Window, bias_bgrt: Tensor) -> Tensor:
        b, s, d = x_bsd.shape
        q, k, v = torch.split(self.qkv(x_bsd), self.sizes, dim=-1)
        keys_bgtd, values_bgtd = window.store(
            layer, k.view(b, s, self.groups, self.head_dim), v.view(b, s, self.groups, self.head_dim)
        )
        # Head h uses group h // (heads / groups): heads of a group lie side by side.
        q_bghsd = q.view(b, s, self.groups, -1, self.head_dim).permute(0, 2, 3, 1, 4)
        q_bgrd = q_bghsd.reshape(b, self.groups, -1, self.head_dim)
        y_bgrd = attend(q_bgrd, keys_bgtd, values_bgtd, bias_bgrt)
        y_bsd = y_bgrd.view(b, self.groups, -1, s, self.head_dim).permute(0, 3, 1, 2, 4).reshape(b, s, d)
        out: Tensor = self.o_proj(y_bsd)
        return out

    def prepare(self, switches: Switches) -> None:
        """Called once the weights are there and quantised ones are laid out."""
        if switches.written_out and write_out(self):
            self.qkv = together((self.q_proj, self.k_proj, self.v_proj), join=switches.joined_projections)
        self.qkv.prepare(pack=switches.packed_weights)
        if switches.packed_weights and isinstance(self.o_proj, Linear):
            self.o_proj.pack()


class FeedForward(nn.Module):
    """down(silu(gate) * up); keys `gate_proj`, `up_proj`, `down_proj`."""

    def __init__(
        self, config: LanguageModelConfig, switches: Switches, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        d, f = config.hidden_size, config.intermediate_size

        def linear(in_features: int, out_features: int) -> Projection:
            return projection(
                in_features,
                out_features,
                config.quantization,
                kernels=switches.quantized_kernels,
                device=device,
                dtype=dtype,
            )

        self.gate_proj, self.up_proj, self.down_proj = linear(d, f), linear(d, f), linear(f, d)
        self.gate_up = together((self.gate_proj, self.up_proj), join=switches.joined_projections)

    def forward(self, x_bsd: Tensor) -> Tensor:
        gate, up = self.gate_up(x_bsd).chunk(2, dim=-1)
        out: Tensor = self.down_proj(F.silu(gate) * up)
        return out

    def prepare(self, switches: Switches) -> None:
        """Called once the weights are there and quantised ones are laid out."""
        if switches.written_out and write_out(self):
            self.gate_up = together((self.gate_proj, self.up_proj), join=switches.joined_projections)
        self.gate_up.prepare(pack=switches.packed_weights)
        if switches.packed_weights and isinstance(self.down_proj, Linear):
            self.down_proj.pack()


class Layer(nn.Module):
    """One pre-norm layer."""

    def __init__(
        self, config: LanguageModelConfig, switches: Switches, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()

        def norm() -> RMSNorm:
            return RMSNorm(
                config.hidden_size, config.rms_norm_eps, fused=switches.fused_norm, device=device, dtype=dtype
            )

        self.input_layernorm = norm()
        self.self_attn = Attention(config, switches, device=device, dtype=dtype)
        self.post_attention_layernorm = norm()
        self.mlp = FeedForward(config, switches, device=device, dtype=dtype)

    def forward(self, x_bsd: Tensor, layer: int, window: Window, bias_bgrt: Tensor) -> Tensor:
        x_bsd = x_bsd + self.self_attn(self.input_layernorm(x_bsd), layer, window, bias_bgrt)
        out: Tensor = x_bsd + self.mlp(self.post_attention_layernorm(x_bsd))
        return out


class Decoder(nn.Module):
    """Embedding, layers and last norm: the part of the checkpoint under `model.`"""

    def __init__(
        self, config: LanguageModelConfig, switches: Switches, *, device: torch.device, dtype: torch.dtype
    ) -> None:
        super().__init__()
        # Not nn.Embedding, which would fill the table with random numbers first.
        self.embed_tokens = Table(config.vocab_size, config.hidden_size, device=device, dtype=dtype)
        self.layers = nn.ModuleList(Layer(config, switches, device=device, dtype=dtype) for _ in range(config.layers))
        self.norm = RMSNorm(
            config.hidden_size, config.rms_norm_eps, fused=switches.fused_norm, device=device, dtype=dtype
        )

    def forward(self, ids_bs: Tensor, window: Window, bias_bgrt: Tensor) -> Tensor:
        x_bsd: Tensor = self.embed_tokens(ids_bs)
        for i, layer in enumerate(self.layers):
            x_bsd = layer(x_bsd, i, window, bias_bgrt)
        normed: Tensor = self.norm(x_bsd)
        return normed


class Table(nn.Module):
    """Rows by id; key `weight`, (rows, size)."""

    def __init__(self, rows: int, size: int, *, device: torch.device, dtype: torch.dtype) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(rows, size, device=device, dtype=dtype), requires_grad=False)

    def forward(self, ids: Tensor) -> Tensor:
        return F.embedding(ids, self.weight)


class Step1(nn.Module):
    """The language model. `state_dict` names parameters as the checkpoint does; of NF4 see `checkpoint_mapping`.

    Parameters are allocated empty, in their place: fill them by name, then call `prepare` once.
    """

    def __init__(
        self,
        config: LanguageModelConfig,
        *,
        device: torch.device | str,
        dtype: torch.dtype,
        switches: Switches | None = None,
        max_tokens: int = 8192,
    ) -> None:
        super().__init__()
        device = torch.device(device)
        self.config, self.switches = config, switches or Switches()
        self.max_tokens = min(max_tokens, config.max_seq_len)
        self.model = Decoder(config, self.switches, device=device, dtype=dtype)
        self.lm_head = Table(config.vocab_size, config.hidden_size, device=device, dtype=dtype)
        self._bias: DistanceBias | None = None

    @property
    def device(self) -> torch.device:
        return self.lm_head.weight.device

    @property
    def dtype(self) -> torch.dtype:
        return self.lm_head.weight.dtype

    @property
    def bias(self) -> DistanceBias:
        """Makes attention biases on the model's device."""
        if self._bias is None or self._bias.roots_t.device != self.device:
            self._bias = DistanceBias(self.config.heads, self.config.groups, self.max_tokens, self.device)
        return self._bias

    def prepare(self, told: Callable[[float], None] = lambda share: None) -> None:
        """Lay weights out for their kernels, or write them out where there is none (see `devices`); call once, after
        they are filled in. On the CPU the model then only runs: `state_dict` lacks what was packed, and it cannot be
        moved.

        `told` hears the share that is done: at the published size that takes a minute or two on a CPU. Raises
        LoadFailed, naming the projection, for a stated shape that is not the model's.
        """
        for i, layer in enumerate(self.model.layers):
            modules = list(layer.named_modules(prefix=f"model.layers.{i}"))
            for name, module in modules:
                if isinstance(module, Int4Linear | Nf4Linear):
                    module.prepare(name)
            for _, module in modules:
                if isinstance(module, Attention | FeedForward):
                    module.prepare(self.switches)
            told((i + 1) / self.config.layers)

    def new_cache(self, rows: int, max_tokens: int | None = None) -> KeyValueCache:
        """Room for `rows` sequences, on the model's device and in its dtype."""
        return KeyValueCache(
            self.config, rows, min(max_tokens or self.max_tokens, self.max_tokens), device=self.device, dtype=self.dtype
        )

    def chunk(self, ids_s: Tensor, cache: KeyValueCache, row: int, start: int) -> Tensor:
        """Hidden states (s, hidden), normed, of tokens `ids_s` at positions `start` and on of one row of the cache."""
        count = ids_s.shape[0]
        positions_bs = torch.arange(start, start + count, device=self.device)[None]
        bias_bgrt = self.bias.at(positions_bs, start + count)
        hidden: Tensor = self.model(ids_s[None], cache.chunk(row, start, count), bias_bgrt)
        return hidden[0]

    def step(self, ids_b: Tensor, positions_b: Tensor, cache: KeyValueCache, keys: int, first: int = 0) -> Tensor:
        """Hidden states (rows, hidden), normed, of one more token in each of the cache's rows from `first` on.

        `keys` bounds every row's position + 1. Does not synchronise with the device.
        """
        bias_bgrt = self.bias.at(positions_b[:, None], keys)
        hidden: Tensor = self.model(ids_b[:, None], cache.step(positions_b, keys, first), bias_bgrt)
        return hidden[:, 0]

    def logits(self, hidden: Tensor) -> Tensor:
        """Scores of the whole vocabulary, fp32 (…, vocab)."""
        return F.linear(hidden, self.lm_head.weight).float()


def checkpoint_mapping(model: Step1) -> dict[str, str]:
    """For every tensor a strict loader must find: its key in the checkpoint, and its name in `model.state_dict()`.

    They are equal but for NF4, whose buffers cannot have the checkpoint's dotted names, and whose `nested_offset` is
    inside the JSON under `….quant_state.bitsandbytes__nf4` (read it with `Nf4State.parse` and fill it in).
    """
    quantised = {name: module for name, module in model.named_modules() if isinstance(module, Nf4Linear)}
    mapping: dict[str, str] = {}
    for name in model.state_dict():
        parent, _, leaf = name.rpartition(".")
        if parent in quantised:
            if leaf == "nested_offset":
                mapping[f"{parent}.weight.quant_state.bitsandbytes__nf4"] = name
            else:
                mapping[f"{parent}.{checkpoint_key(leaf)}"] = name
        else:
            mapping[name] = name
    return mapping


def chunk_size(model: Step1, keys: int) -> int:
    """How many tokens of a prompt of `keys` tokens to compute at once, so that scores take at most 256 MiB.

    Fewer on the CPU, where they take seconds and a cancellation waits for them.
    """
    most = CPU_CHUNK if model.device.type == "cpu" else CHUNK
    return max(MIN_CHUNK, min(most, SCORES // (model.config.heads * keys)))


def prefill(
    model: Step1, ids_s: Tensor, cache: KeyValueCache, row: int, start: int = 0, *, chunk_tokens: int = CHUNK
) -> Tensor:
    """Fill the cache of one row with `ids_s` from position `start`; hidden states (s, hidden), normed.

    In chunks, so that the bias of a chunk is made once for all layers and no more than
    heads x `chunk_tokens` x keys scores exist at a time.
    """
    hidden = [
        model.chunk(ids_s[at : at + chunk_tokens], cache, row, start + at)
        for at in range(0, ids_s.shape[0], chunk_tokens)
    ]
    return torch.cat(hidden)
