"""What a child process may use at most."""

from __future__ import annotations

import math
import resource
import sys
import time

import msgspec


class Limits(msgspec.Struct, frozen=True):
    """Limits the kernel enforces; None leaves one open.

    `address_space`: bytes the child may map on top of what it has when it starts (Linux only). `cpu_seconds`: CPU time,
    after which it is killed by SIGXCPU. `file_size`: bytes of any file it writes; 0 lets it write none.
    """

    address_space: int | None = None
    cpu_seconds: int | None = None
    file_size: int | None = None


def apply(limits: Limits) -> None:
    """Put this process under `limits`, for good. Its core dumps are switched off too."""
    _lower(resource.RLIMIT_CORE, 0)
    if limits.address_space is not None and sys.platform == "linux":
        _lower(resource.RLIMIT_AS, _mapped_bytes() + limits.address_space)
    if limits.cpu_seconds is not None:
        # One second between the soft and the hard limit: SIGXCPU says what happened, SIGKILL does not.
        soft = math.ceil(time.process_time()) + limits.cpu_seconds
        _lower(resource.RLIMIT_CPU, soft, soft + 1)
    if limits.file_size is not None:
        _lower(resource.RLIMIT_FSIZE, limits.file_size)


def _lower(kind: int, soft: int, hard: int | None = None) -> None:
    """Set a limit, but never above the hard one this process already has."""
    ceiling = resource.getrlimit(kind)[1]
    wanted = soft if hard is None else hard
    hard = wanted if ceiling == resource.RLIM_INFINITY else min(wanted, ceiling)
    resource.setrlimit(kind, (min(soft, hard), hard))


def _mapped_bytes() -> int:
    """A forked child begins with everything its parent had mapped, so a limit must count from there."""
    with open("/proc/self/statm", "rb") as statm:
        return int(statm.read().split()[0]) * resource.getpagesize()
