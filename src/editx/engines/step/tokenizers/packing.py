"""Keeps weights in the layout the processor multiplies them in."""

from __future__ import annotations

from torch import nn

from editx.engines.step.decoder.layers import Linear


def pack(network: nn.Module) -> None:
    """Give up the matrices of `network` for packed copies, where its device has such a layout; elsewhere do nothing.

    On a CPU in float32 that saves oneDNN from packing them in every call. A packed network only runs: its `state_dict`
    lacks them, and it cannot be moved.
    """
    for module in network.modules():
        if isinstance(module, Linear):
            module.pack()
