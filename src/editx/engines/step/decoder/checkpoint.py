"""Strict loading of a module from the tensors of a checkpoint, and the folding of weight norm (spec 40 §1, 50 §2)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from editx.errors import LoadFailed

log = logging.getLogger(__name__)

_GAINS = {".parametrizations.weight.original0": ".parametrizations.weight.original1", ".weight_g": ".weight_v"}
"""How a gain's key ends, and how that of its direction does, in the two styles checkpoints are written in."""


def load_strictly(
    module: nn.Module, state: Mapping[str, Tensor], device: torch.device, where: str, *, spare: bool = False
) -> None:
    """Give `module`, built on the meta device, exactly the tensors of `state`, as fp32 on `device`.

    Raises LoadFailed naming the keys that are missing, unexpected, or of another shape. `spare`: unexpected ones are
    only reported in the log.
    """
    wanted = dict(module.named_parameters())
    _refuse(where, "lacks", sorted(wanted.keys() - state.keys()))
    unexpected = sorted(state.keys() - wanted.keys())
    if spare and unexpected:
        log.warning("%s holds %s, of which no use is made", where, _shown(unexpected))
    else:
        _refuse(where, "has unexpected", unexpected)
    shapes = [
        f"{key} {tuple(state[key].shape)} instead of {tuple(parameter.shape)}"
        for key, parameter in wanted.items()
        if state[key].shape != parameter.shape
    ]
    _refuse(where, "has the wrong shape:", shapes)
    odd = [key for key in wanted if not state[key].is_floating_point()]
    _refuse(where, "holds no floating-point numbers in", odd)
    module.load_state_dict({key: state[key].to(device, torch.float32) for key in wanted}, strict=True, assign=True)
    module.requires_grad_(False)


def fold_weight_norm(state: Mapping[str, Tensor], where: str) -> dict[str, Tensor]:
    """`state` with every weight-normed pair X (gain g, direction v) as one `X.weight` = g * v / ||v||.

    The norm is over all dimensions but the first, also for transposed convolutions. Accepts both styles of names and
    weights that are folded already. Raises LoadFailed when a pair is incomplete or its shapes do not fit.
    """
    folded = dict(state)
    for key, gain in state.items():
        for gain_end, direction_end in _GAINS.items():
            if not key.endswith(gain_end):
                continue
            base = key.removesuffix(gain_end)
            direction = state.get(base + direction_end)
            if direction is None:
                _refuse(where, "lacks", [base + direction_end])
            elif gain.numel() != direction.shape[0]:
                _refuse(where, "has the wrong shape:", [f"{key} {tuple(gain.shape)} for {tuple(direction.shape)}"])
            else:
                folded[base + ".weight"] = torch._weight_norm(
                    direction.float(), gain.float().view(-1, *[1] * (direction.dim() - 1)), 0
                )
                del folded[key], folded[base + direction_end]
    return folded


def _refuse(where: str, what: str, keys: Iterable[str]) -> None:
    listed = list(keys)
    if listed:
        raise LoadFailed(f"{where} {what} {_shown(listed)}. It does not fit its cosyvoice.yaml; download both again")


def _shown(keys: Sequence[str]) -> str:
    return ", ".join(keys[:5]) + (f" and {len(keys) - 5} more" if len(keys) > 5 else "")
