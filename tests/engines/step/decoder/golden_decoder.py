"""Decoder goldens: configurations from their metadata, weights by their rule, and the noise they name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from editx.engines.step.decoder.bigvgan import BigVGAN
from editx.engines.step.decoder.config import (
    BigVGANConfig,
    DecoderConfig,
    DiTConfig,
    EncoderConfig,
    FlowConfig,
    HiftConfig,
    MelConfig,
)
from editx.engines.step.decoder.decoder import TokenDecoder
from editx.engines.step.decoder.flow import Flow
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.decoder.options import DecoderOptions
from tests.golden import Golden, family, normal, weight

CPU = torch.device("cpu")


def flow_config(golden: Golden) -> FlowConfig:
    sizes = golden.config["flow"]
    return FlowConfig(
        input_size=sizes["input_size"],
        guidance=golden.config.get("cfg_rate", 0.7),
        encoder=EncoderConfig(
            input_size=sizes["input_size"],
            output_size=sizes["enc_size"],
            lookahead=golden.config.get("lookahead", EncoderConfig().lookahead),
            num_blocks=sizes["num_blocks"],
            num_up_blocks=sizes["num_up_blocks"],
            heads=sizes["enc_heads"],
            linear_units=sizes["linear_units"],
        ),
        dit=DiTConfig(
            depth=sizes["depth"],
            hidden_size=sizes["hidden_size"],
            num_heads=sizes["num_heads"],
            head_dim=sizes["head_dim"],
        ),
    )


def hift_config(sizes: Mapping[str, Any]) -> HiftConfig:
    return HiftConfig(base_channels=sizes["base_channels"], cond_channels=sizes["cond_channels"])


def bigvgan_config(sizes: Mapping[str, Any]) -> BigVGANConfig:
    def frozen(value: Any) -> Any:
        return tuple(frozen(item) for item in value) if isinstance(value, list) else value

    return BigVGANConfig(**{key: frozen(value) for key, value in sizes.items()})


def shapes(build: Callable[[], nn.Module]) -> dict[str, tuple[int, ...]]:
    """Every parameter of a module, built without memory."""
    with torch.device("meta"):
        module = build()
    return {key: tuple(parameter.shape) for key, parameter in module.named_parameters()}


@lru_cache(maxsize=1)  # filling the published sizes takes seconds; loading never writes into the tensors
def flow_weights(config: FlowConfig, salt: str) -> dict[str, Tensor]:
    return {k: weight(k, s, salt) for k, s in shapes(lambda: Flow(config, DecoderOptions())).items()}


def gain(key: str, direction: Tensor, salt: str) -> Tensor:
    """Rule 3: the norm over all but the first dimension, times 1 + 0.1 x."""
    norm = direction.double().pow(2).sum(dim=tuple(range(1, direction.dim())), keepdim=True).sqrt().float()
    return norm * (1 + 0.1 * torch.from_numpy(normal(salt + key, tuple(norm.shape))))


def hift_weights(config: HiftConfig, salt: str, *, loud: bool = False) -> dict[str, Tensor]:
    """The checkpoint's 328 tensors (at published sizes), weight norm in the parametrization style."""
    state: dict[str, Tensor] = {}
    for key, shape in shapes(lambda: Hift(config)).items():
        if len(shape) == 3 and not key.startswith("source_downs"):
            base = key.removesuffix("weight") + "parametrizations.weight.original"
            state[base + "1"] = weight(base + "1", shape, salt)
            state[base + "0"] = gain(base + "0", state[base + "1"], salt)
        elif key.endswith(".alpha"):
            state[key] = 1 + 0.1 * torch.from_numpy(normal(salt + key, shape))
        else:
            state[key] = weight(key, shape, salt)
    state["f0_predictor.classifier.weight"] *= 100
    state["conv_post.parametrizations.weight.original0"] *= 0.1
    state["conv_post.bias"][: config.n_fft // 2 + 1] += 1.5 if loud else -1.0
    return state


def bigvgan_weights(config: BigVGANConfig, salt: str) -> dict[str, Tensor]:
    """The checkpoint's tensors, weight norm in the old style, without the filter buffers."""
    state: dict[str, Tensor] = {}
    for key, shape in shapes(lambda: BigVGAN(config)).items():
        if len(shape) == 3:
            base = key.removesuffix("weight")
            state[base + "weight_v"] = weight(base + "weight_v", shape, salt)
            state[base + "weight_g"] = gain(base + "weight_g", state[base + "weight_v"], salt)
        else:
            state[key] = weight(key, shape, salt)
    state["conv_post.weight_g"] *= 0.01
    return state


def flow_of(golden: Golden, options: DecoderOptions | None = None) -> Flow:
    config = flow_config(golden)
    return Flow.load(config, flow_weights(config, golden.salt), device=CPU, options=options)


def decoder_of(golden: Golden, **changes: Any) -> TokenDecoder:
    """The decoder a session golden was made with; `changes` are options."""
    meta = golden.config
    options = DecoderOptions(
        steps=meta["n_timesteps"],
        chunk_frames=tuple(meta["chunk_size_list"]),
        mel_overlap_frames=meta["mel_cache_len"],
    )
    options = DecoderOptions(**{**{f: getattr(options, f) for f in options.__slots__}, **changes})
    flow = flow_config(golden)
    if "bigvgan" in meta:
        vocoder: HiftConfig | BigVGANConfig = bigvgan_config(meta["bigvgan"])
        state = bigvgan_weights(vocoder, golden.salt)
    else:
        vocoder = hift_config(meta["hift"])
        state = hift_weights(vocoder, golden.salt)
    config = DecoderConfig(MelConfig(), flow, vocoder)
    return TokenDecoder.load(config, flow_weights(flow, golden.salt), state, device=CPU, options=options)


class NamedNoise:
    """The noise a session golden names. `vocoder` is the name of its draws, in which `<call k>`, or another such word,
    stands for their number; a name without one is that of a single draw."""

    def __init__(self, golden: Golden, vocoder: str = "") -> None:
        meta = golden.config
        self.frames = torch.from_numpy(normal(meta["flow_noise_name"], (1, 80, meta["noise_len"])))
        self.name = vocoder
        self.frames_in: list[int] = []

    def flow(self, start: int, frames: int) -> Tensor:
        assert start + frames <= self.frames.shape[2]
        return self.frames[:, :, start : start + frames]

    def vocoder(self, samples: int, harmonics: int) -> Tensor:
        call = len(self.frames_in)
        self.frames_in.append(samples // 480)
        name, places = re.subn(r"<[^<>]*>|\{[^{}]*\}|%d", str(call), self.name)
        assert name, "no name is given for the vocoder's noise"
        assert places or not call, f"{self.name!r} has no place for the number of draw {call}"
        return torch.from_numpy(normal(name, (1, samples, harmonics)))


def close(ours: Tensor, golden: Tensor, tolerance: float) -> None:
    """Equal shapes, and no element further apart than `tolerance`."""
    assert ours.shape == golden.shape
    worst = (ours.double() - golden.double()).abs().max().item() if golden.numel() else 0.0
    assert worst <= tolerance, f"worst difference {worst:.2e}, expected at most {tolerance:.2e}"


def snr_db(ours: Tensor, golden: Tensor) -> float:
    error = (ours.double() - golden.double()).pow(2).mean()
    return float(10 * torch.log10(golden.double().pow(2).mean() / error))


def cases(prefix: str, holding: str = "") -> list[Any]:
    """The files of a family as test parameters, as `family` finds them; published sizes are marked slow."""
    found = []
    for golden in family(prefix, holding):
        width = max(flow_width(golden), golden.config.get("hift", {}).get("base_channels", 0))
        found.append(pytest.param(golden, id=repr(golden), marks=[pytest.mark.slow] if width >= 512 else []))
    return found


def flow_width(golden: Golden) -> int:
    """The widest that its encoder or estimator gets."""
    sizes = golden.config.get("flow", {})
    return max(sizes.get("hidden_size", 0), sizes.get("enc_size", 0))


def is_large(golden: Golden) -> bool:
    """Whether the tolerances of `decoder.md` for the published sizes hold for it."""
    return flow_width(golden) >= 512
