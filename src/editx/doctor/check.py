"""One thing that was looked at, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["ok", "warn", "fail"]


@dataclass(frozen=True, slots=True)
class Check:
    """`warn`: something would not work, but EditX would serve; `fail`: it would not.

    `name` and the keys of `facts`, the figures behind `detail`, are stable: programs may rely on them. `remedy`: one
    line, empty when all is well.
    """

    name: str
    status: Status
    detail: str
    remedy: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)


def gb(count: float) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB"
