"""Which variants exist, what they need, and whether they could be loaded here.

The server reads this table; it imports no engine.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One set of weights that can be served.

    `entry`: "module:function" of its `OpenEngine`, imported in the worker only. `slots`: requests it works on at once.
    `options`: plain values handed to `open_engine`. `reason`: why it cannot be loaded here; empty when it can.
    `memory_bytes`: what it is believed to take of the memory budget until a peak was measured.
    """

    name: str
    title: str
    entry: str
    slots: int = 1
    options: dict[str, object] = field(default_factory=dict)
    reason: str = ""
    memory_bytes: int = 0
    uses_gpu: bool = False

    @property
    def available(self) -> bool:
        return not self.reason
