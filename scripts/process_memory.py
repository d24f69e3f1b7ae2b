"""What a process and all its descendants occupy in main memory."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass

import psutil

MB = 1e6


@dataclass(frozen=True, slots=True)
class Memory:
    """Of one or more process trees, in bytes.

    `rss` counts a page once for every process that maps it, `pss` shares it out among them, so that the figures of
    several processes may be added. Only Linux tells `pss`; elsewhere it is `rss`.
    """

    processes: int
    rss: int
    pss: int

    def __str__(self) -> str:
        plural = "" if self.processes == 1 else "es"
        return f"{self.processes} process{plural}, {self.pss / MB:.0f} MB"


def tree_memory(roots: Iterable[int] | None = None) -> Memory:
    """Memory of the trees below these process ids, now; of this process's own if none are given."""
    processes = rss = pss = 0
    for process in tree(roots):
        try:
            full = process.memory_full_info()
        except psutil.NoSuchProcess:  # it ended between the two looks
            continue
        processes += 1
        rss += full.rss
        pss += getattr(full, "pss", full.rss)
    return Memory(processes, rss, pss)


def tree(roots: Iterable[int] | None = None) -> list[psutil.Process]:
    """These processes and all their descendants."""
    found = []
    for pid in roots or [os.getpid()]:
        root = psutil.Process(pid)
        found += [root, *root.children(recursive=True)]
    return found
