"""Activation-aware scales: channels that carry much are rounded more finely, at no cost when the model runs (AWQ).

A linear's input channel is multiplied by s and what makes it divided by s, which changes nothing before rounding. Where
the producer is a norm or another linear, the division is folded into its weights, so the stored layout stays the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
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


@dataclass(frozen=True, slots=True)
class Found:
    """The best scale of one input, fp32 (in,).

    `error`, `plain_error`: root mean square of what rounding changes in the linears' outputs, over that of the outputs,
    with the scale and without any.
    """

    scale: torch.Tensor
    error: float
    plain_error: float


def smooth_layer(
    weights: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
    group: int,
    *,
    tick: Callable[[], None] = lambda: None,
) -> tuple[dict[str, torch.Tensor], list[Found]]:
    """One layer's bf16 weights, by key within the layer, with the best scales folded in, and the finding at each site.

    `inputs`: for each site's first linear, rows that it was fed, (n, in). Rounded afterwards, the layer's linears are
    at least as near to the originals on these rows as without scales. `tick` is called many times a second; what it
    raises ends the work.
    """
    changed, found = dict(weights), []
    for site in SITES:
        names = [f"{linear}.weight" for linear in site.linears]
        best = best_scale(inputs[site.observed].float(), [changed[name] for name in names], group, tick=tick)
        for name in names:
            changed[name] = (changed[name].float() * best.scale).to(changed[name].dtype)
        producer = changed[f"{site.producer}.weight"]
        divisor = best.scale[:, None] if site.rows else best.scale
        changed[f"{site.producer}.weight"] = (producer.float() / divisor).to(producer.dtype)
        found.append(best)
    return changed, found


def best_scale(
    x_nd: torch.Tensor, weights: Sequence[torch.Tensor], group: int, *, tick: Callable[[], None] = lambda: None
) -> Found:
    """The scale of each input channel that brings the rounded linears' outputs nearest to the exact ones.

    Candidates are powers of the channels' mean magnitude, from 0 (no scales) to 1. `weights`: bf16 (out, in).
    """
    magnitude = x_nd.abs().mean(0).clamp_min(1e-8)
    best = torch.ones_like(magnitude)
    errors: list[float] = []
    for step in range(_STEPS):
        scale = magnitude.pow(step / _STEPS)
        scale = scale / (scale.max() * scale.min()).sqrt()
        error = 0.0
        for weight in weights:
            tick()
            error += _error(x_nd, weight, scale, group)
        if error < min(errors, default=float("inf")):
            best = scale
        errors.append(error)
    power = sum(float(F.linear(x_nd, weight.float()).square().sum()) for weight in weights) or 1.0
    return Found(best, (min(errors) / power) ** 0.5, (errors[0] / power) ** 0.5)


def _error(x_nd: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor, group: int) -> float:
    """Squared error of the output when the scaled weight is rounded."""
    scaled = (weight.float() * scale).to(weight.dtype)
    unit = int4_scale(scaled, group)
    rounded = int4_round(scaled, unit).view(*unit.shape, -1) * unit.float()[..., None]
    difference = rounded.flatten(1) / scale - weight.float()
    return float(F.linear(x_nd, difference).square().sum())
