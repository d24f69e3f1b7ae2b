"""How long a model may idle, load, drain and close."""

from __future__ import annotations

import math
from dataclasses import dataclass

from editx.errors import InvalidRequest


def seconds(value: float, param: str) -> float:
    """`value` as a float. Raises InvalidRequest, naming `param`, for what is not a number of seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        raise InvalidRequest(f"{param} must be a number of seconds, not {value!r}", param=param)
    return float(value)


def keep_seconds(value: float, param: str) -> float | None:
    """How long to keep an idle model: `value` seconds; None, for ever, if it is negative or infinite."""
    number = seconds(value, param)
    return None if number < 0 or math.isinf(number) else number


def deadline_seconds(value: float, param: str) -> float:
    """`value`, which must be finite and not negative, because every transition ends."""
    number = seconds(value, param)
    if number < 0 or math.isinf(number):
        raise InvalidRequest(f"{param} must be finite and not negative, not {value!r}: every wait ends", param=param)
    return number


@dataclass(frozen=True, slots=True)
class Limits:
    """All in seconds.

    `idle_timeout`: how long a model without a lease is kept; 0 unloads it when its last lease is released; None or
    negative keeps it. `load_timeout`: how long a load may give no sign of life, None for ever. `drain_timeout`: how
    long an unload waits for leases. `close_timeout`: how long closing, or ending a load that is not wanted any more,
    may take before it is abandoned.
    """

    idle_timeout: float | None = 300.0
    auto_unload: bool = True
    load_timeout: float | None = None
    drain_timeout: float = 30.0
    close_timeout: float = 10.0

    def __post_init__(self) -> None:
        if self.idle_timeout is not None:
            seconds(self.idle_timeout, "idle_timeout")
        if not isinstance(self.auto_unload, bool):
            raise InvalidRequest(f"auto_unload must be True or False, not {self.auto_unload!r}", param="auto_unload")
        if self.load_timeout is not None and deadline_seconds(self.load_timeout, "load_timeout") == 0:
            raise InvalidRequest("load_timeout must be more than 0 seconds; None waits for ever", param="load_timeout")
        deadline_seconds(self.drain_timeout, "drain_timeout")
        deadline_seconds(self.close_timeout, "close_timeout")

    @property
    def keep(self) -> float | None:
        """How long the model is kept after its last use; None for ever."""
        if self.idle_timeout is None or not self.auto_unload:
            return None
        return keep_seconds(self.idle_timeout, "idle_timeout")
