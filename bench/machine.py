"""A device, its clock, and what it can do at best."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median, quantiles

import torch
from bench.row import Row
from torch.utils.flop_counter import FlopCounterMode

MIN_ROUNDS, MAX_ROUNDS = 3, 25
"""Long works need few rounds: what comes and goes meanwhile evens out within one."""

Work = Callable[[], object]


class Machine:
    """Measures against its own limits: a matrix product for work bound by arithmetic, a matrix-vector product for work
    bound by memory. `rounds_s`: how long the rounds of one row may take. `quick` makes the limits' own works so small
    that they cost nothing, and say nothing."""

    def __init__(self, device: torch.device, rounds_s: float = 15.0, *, quick: bool = False) -> None:
        self.device, self._rounds_s = device, rounds_s
        self.reduced = torch.float32 if device.type == "cpu" else torch.bfloat16
        side, columns = (128, 128) if quick else (2048, 31_232)
        self._operations = 2 * side**3
        self._multiply = {dtype: self._product(side, dtype) for dtype in {torch.float32, self.reduced}}
        # As many bytes as a layer has, so that caches are of as little help.
        matrix = torch.randn(3072, columns, device=device, dtype=self.reduced)
        vector = torch.randn(matrix.shape[1], device=device, dtype=self.reduced)
        self._read, self._bytes = lambda: matrix @ vector, matrix.nbytes
        works = [*self._multiply.values(), self._read]
        for work in works:
            work()
        *multiplied, read = (median(seconds) for seconds in self.rounds(*works))
        self.flops = {dtype: self._operations / s for dtype, s in zip(self._multiply, multiplied, strict=True)}
        self.bandwidth = self._bytes / read

    def __str__(self) -> str:
        rates = ", ".join(f"{rate / 1e9:.0f} GFLOP/s in {_name(dtype)}" for dtype, rate in self.flops.items())
        return f"{self.device}: {rates}, {self.bandwidth / 1e9:.1f} GB/s"

    def limits(self) -> dict[str, float]:
        """As they go into the JSON."""
        return {f"flops_{_name(d)}": rate for d, rate in self.flops.items()} | {"bytes_per_second": self.bandwidth}

    def rounds(self, *works: Work) -> list[list[float]]:
        """Seconds of each work in each of several rounds, in which the works take turns. Warm them up before."""
        found: list[list[float]] = [[] for _ in works]
        until = time.perf_counter() + self._rounds_s
        while len(found[0]) < MIN_ROUNDS or (len(found[0]) < MAX_ROUNDS and time.perf_counter() < until):
            for seconds, work in zip(found, works, strict=True):
                seconds.append(self.seconds(work))
        return found

    def seconds(self, work: Work) -> float:
        """How long `work` takes until the device has done it."""
        self._wait()
        began = time.perf_counter()
        work()
        self._wait()
        return time.perf_counter() - began

    def compare(
        self,
        stage: str,
        ours: Callable[[], torch.Tensor],
        plain: Callable[[], torch.Tensor],
        *,
        atol: float,
        rtol: float = 0.0,
        audio: float | None = None,
        read: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> Row:
        """Check that both give the same, then time them. The stage is bound by reading `read` bytes; if that is 0 by
        arithmetic in `dtype`, counted in the plain one, since the packed products of ours are not seen."""
        # What is served may convolve in TF32, which is too coarse to tell a mistake by.
        with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):
            with FlopCounterMode(display=False) as counter:
                expected = plain()
            torch.testing.assert_close(ours(), expected, rtol=rtol, atol=atol)
        limit, work = self._limit(read, counter.get_total_flops(), dtype)
        ours(), plain()
        mine, other, best = self.rounds(ours, plain, limit)
        ratios = [b / a for a, b in zip(mine, other, strict=True)]
        low, _, high = quantiles(ratios, n=4, method="inclusive")
        share = median(work * c / a for a, c in zip(mine, best, strict=True))
        return Row(stage, median(mine), median(other), (median(ratios), low, high), audio, share)

    def alone(
        self,
        stage: str,
        work: Work,
        *,
        audio: float | None = None,
        read: int = 0,
        flops: int = 0,
        dtype: torch.dtype = torch.float32,
        times: int = 1,
        tokens: int = 0,
    ) -> Row:
        """Time what has no plain counterpart. `work` does the stage `times` times, each of which gives `tokens` tokens
        and is bound by reading `read` bytes or by `flops` operations in `dtype`, or by neither."""
        work()
        limit, needed = self._limit(read, flops, dtype)
        mine, best = self.rounds(work, limit)
        share = median(times * needed * c / a for a, c in zip(mine, best, strict=True)) if needed else None
        seconds = median(mine) / times
        return Row(stage, seconds, audio=audio, share=share, tokens_per_second=tokens / seconds if tokens else None)

    def _limit(self, read: int, flops: int, dtype: torch.dtype) -> tuple[Work, float]:
        """The work that shows the limit, and how many times it holds what is to be done."""
        return (self._read, read / self._bytes) if read else (self._multiply[dtype], flops / self._operations)

    def _product(self, side: int, dtype: torch.dtype) -> Work:
        a, b = (torch.randn(side, side, device=self.device, dtype=dtype) for _ in range(2))
        return lambda: a @ b

    def _wait(self) -> None:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        elif self.device.type == "mps":
            torch.mps.synchronize()


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
