"""The guided Euler solve from noise to mel (spec 40 §10, §12.3)."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from editx.engines.step.decoder.dit import DiT, StepModulation
from editx.engines.step.decoder.estimator_cache import BlockCache, EstimatorCache
from editx.engines.step.decoder.layers import Linear
from editx.engines.step.decoder.options import DecoderOptions

_BOTH = slice(0, 2)


@dataclass(frozen=True, slots=True)
class Conditions:
    """What steers a solve: mu (1, T, 80), speaker (1, 80), prompt mel with zeros behind it (1, T, 80). fp32."""

    mu_btc: Tensor
    speaker_bc: Tensor
    cond_btc: Tensor


def time_span(steps: int) -> Tensor:
    """tau: fp32 (steps + 1,), from 0 to 1, dense at the start."""
    return 1 - torch.cos(torch.linspace(0, 1, steps + 1, dtype=torch.float32, device="cpu") * 0.5 * math.pi)


def time_steps(steps: int) -> list[tuple[float, float]]:
    """(t, dt) of each Euler step. t is accumulated in fp32, not read from the span again."""
    span = time_span(steps)
    t, dt = span[0], span[1] - span[0]
    pairs = []
    for step in range(1, steps + 1):
        pairs.append((float(t), float(dt)))
        t = t + dt
        if step < steps:
            dt = span[step + 1] - t
    return pairs


class Solver:
    """Classifier-free guidance around a `DiT`. Holds constants only; safe for several threads."""

    def __init__(self, dit: DiT, guidance: float, options: DecoderOptions) -> None:
        self._dit = dit
        self._guidance = guidance
        self._options = options
        self._times = time_steps(options.steps)
        self._table: tuple[StepModulation, ...] = ()
        self._x_weight = self._rest_weight = torch.empty(0)

    def prepare(self) -> None:
        """Compute the constants of the checkpoint, before the weights are packed or cast."""
        if self._options.modulation_table:
            self._table = tuple(self._modulation(t) for t, _ in self._times)
            self._dit.drop_modulation()
        if self._options.split_in_proj:
            weight = self._dit.in_proj.weight.float()
            mels = self._dit.config.out_channels
            self._x_weight, self._rest_weight = weight[:, :mels].contiguous(), weight[:, mels:].contiguous()

    def solve(
        self, noise_bct: Tensor, conditions: Conditions, *, cache: EstimatorCache | None = None, store: bool = False,
        keep: int | None = None, check: Callable[[], None] = lambda: None,
    ) -> Tensor:  # fmt: skip
        """noise (1, 80, T) -> mel (1, 80, T), or of its last `keep` frames.

        With a `cache`, earlier chunks are seen through it, and with `store` this chunk is added. `check` is called
        before each step and may raise.
        """
        x_btc = noise_bct.transpose(1, 2).contiguous()
        rest = self._rest(conditions) if self._options.split_in_proj else None
        last = len(self._times) - 1
        for step, (t, dt) in enumerate(self._times):
            check()
            mod = self._table[step] if self._table else self._modulation(t)
            keep_now = keep if self._options.skip_unused and step == last else None
            conditional, free = self._pair(x_btc, conditions, rest, mod, cache, step, store, keep_now)
            if keep_now is not None:
                x_btc = x_btc[:, x_btc.shape[1] - keep_now :]
            velocity = torch.lerp(free, conditional, 1 + self._guidance)
            x_btc = x_btc.add(velocity, alpha=dt)
        if cache is not None and store:
            cache.advance(noise_bct.shape[2])
        if keep is not None:
            x_btc = x_btc[:, x_btc.shape[1] - keep :]
        return x_btc.transpose(1, 2).contiguous()

    def _pair(
        self, x_btc: Tensor, conditions: Conditions, rest: Tensor | None, mod: StepModulation,
        cache: EstimatorCache | None, step: int, store: bool, keep: int | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The conditional and the unconditional velocity, (1, T, 80) each."""

        def caches(rows: slice) -> list[BlockCache] | None:
            if cache is None:
                return None
            return [cache.block(step, block, rows, store=store) for block in range(len(self._dit.blocks))]

        h_btc = self._enter(x_btc, conditions, rest)
        if self._options.batched_guidance:
            both = self._dit.run(h_btc, mod, caches(_BOTH), keep)
            return both[:1], both[1:]
        first, second = (
            self._dit.run(h_btc[row : row + 1].clone(), mod, caches(slice(row, row + 1)), keep) for row in (0, 1)
        )
        return first, second

    def _enter(self, x_btc: Tensor, conditions: Conditions, rest: Tensor | None) -> Tensor:
        """`in_proj` of the guided pair: fp32 (2, T, C)."""
        if rest is not None:
            return rest + F.linear(x_btc, self._x_weight)
        frames = self._features(conditions)
        pair = torch.cat([torch.cat([x_btc, frames], dim=2), torch.cat([x_btc, torch.zeros_like(frames)], dim=2)])
        h_btc: Tensor = self._dit.in_proj(pair)
        return h_btc.float()

    def _rest(self, conditions: Conditions) -> Tensor:
        """All of `in_proj` but the share of x, constant over the steps: (2, T, C); the free row is the bias."""
        bias = self._bias(self._dit.in_proj)
        conditional = F.linear(self._features(conditions), self._rest_weight, bias)
        return torch.cat([conditional, bias.expand_as(conditional)])

    @staticmethod
    def _features(conditions: Conditions) -> Tensor:
        speaker = conditions.speaker_bc[:, None].expand_as(conditions.mu_btc)
        return torch.cat([conditions.mu_btc, speaker, conditions.cond_btc], dim=2)

    @staticmethod
    def _bias(layer: Linear) -> Tensor:
        assert layer.bias is not None
        return layer.bias.float()

    def _modulation(self, t: float) -> StepModulation:
        device = self._dit.in_proj.bias.device if self._dit.in_proj.bias is not None else None
        return self._dit.modulation(torch.tensor([t], dtype=torch.float32, device=device))
