"""Activation-aware scales: channels that carry much are rounded more finely, at no cost when the model runs (AWQ).

A linear's input channel is multiplied by s and what makes it divided by s, which changes nothing before rounding. Where
the producer is a norm or another linear, the division is folded into its weights, so the stored layout stays the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from editx.engines.step.quantize_formats import int4_round, int4_scale

_STEPS = 20


@dataclass(frozen=True, slots=True)
class Site:
    """Linears that share an input, and the weight that makes it. Keys within a layer, without `.weight`.

    `rows`: the producer is a linear, whose output rows are divided; else it is a norm.
    """

    producer: str
    linears: tuple[str, ...]
    rows: bool = False

    @property
    def observed(self) -> str:
        """The linear whose input is looked at."""
        return self.linears[0]


SITES = (
    Site("input_layernorm", ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")),
    Site("post_attention_layernorm", ("mlp.gate_proj", "mlp.up_proj")),
    Site("mlp.up_proj", ("mlp.down_proj",), rows=True),
)
"""`o_proj` has none: twelve of its channels share one row of `v_proj`."""


def smooth_layer(
    weights: Mapping[str, torch.Tensor], inputs: Mapping[str, torch.Tensor], group: int
) -> dict[str, torch.Tensor]:
    """One layer's bf16 weights, by key within the layer, with the best scales folded in.

    `inputs`: for each site's first linear, rows that it was fed, (n, in). Rounded afterwards, the layer's linears are
    at least as near to the originals on these rows as without scales.
    """
    changed = dict(weights)
    for site in SITES:
        x_nd = inputs[site.observed].float()
        names = [f"{linear}.weight" for linear in site.linears]
        scale = best_scale(x_nd, [changed[name] for name in names], group)
        for name in names:
            changed[name] = (changed[name].float() * scale).to(changed[name].dtype)
        producer = changed[f"{site.producer}.weight"]
        divisor = scale[:, None] if site.rows else scale
        changed[f"{site.producer}.weight"] = (producer.float() / divisor).to(producer.dtype)
    return changed


def best_scale(x_nd: torch.Tensor, weights: Sequence[torch.Tensor], group: int) -> torch.Tensor:
    """The scale of each input channel, fp32 (in,), that brings the rounded linears' outputs nearest to the exact ones.

    Candidates are powers of the channels' mean magnitude, from 0 (no scales) to 1. `weights`: bf16 (out, in).
    """
    magnitude = x_nd.abs().mean(0).clamp_min(1e-8)
    best, least = torch.ones_like(magnitude), float("inf")
    for step in range(_STEPS):
        scale = magnitude.pow(step / _STEPS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = sum(_error(x_nd, weight, scale, group) for weight in weights)
        if error < least:
            best, least = scale, error
    return best


def _error(x_nd: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, group: int) -> float:
    """Squared error of the output when the scaled weight is rounded."""
    scaled = (weight.float() * scale).to(weight.dtype)
    unit = int4_scale(scaled, group)
    rounded = int4_round(scaled, unit).view(*unit.shape, -1) * unit.float()[..., None]
    difference = rounded.flatten(1) / scale - weight.float()
    return float(F.linear(x_nd, difference).square().sum())
