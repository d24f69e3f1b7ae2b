"""As much of PromQL as is needed to know what a query reads: metrics, the labels it selects by, those it groups by."""

from __future__ import annotations

import re
from dataclasses import dataclass

METRIC = re.compile(r"\b(editx_\w+|up)\b(?:\{([^}]*)\})?")
GROUPS = re.compile(r"\b(?:by|on)\s*\(([^)]*)\)")
LABEL = re.compile(r"(\w+)\s*(?:=~|!~|!=|=)")


@dataclass(frozen=True, slots=True)
class Query:
    """`selected`: for each metric, the labels in its braces. `grouped`: the labels of every by and on."""

    selected: tuple[tuple[str, frozenset[str]], ...]
    grouped: frozenset[str]


def read(expression: str) -> Query:
    selected = tuple((name, frozenset(LABEL.findall(braces))) for name, braces in METRIC.findall(expression))
    grouped = (label.strip() for group in GROUPS.findall(expression) for label in group.split(","))
    return Query(selected, frozenset(label for label in grouped if label))
