"""Writes a safetensors file tensor by tensor, so that a checkpoint larger than memory can be made."""

from __future__ import annotations

import contextlib
import json
import math
import os
import secrets
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import torch

from editx.engines.step.weights.checksum import SUMS, add, sums_text, word_sum
from editx.engines.step.weights.dtypes import DTYPE_NAMES

_ALIGNMENT = 8


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """What a tensor to be written will be."""

    name: str
    dtype: torch.dtype
    shape: tuple[int, ...]

    @property
    def size(self) -> int:
        """In bytes."""
        return math.prod(self.shape) * self.dtype.itemsize


def spec_of(name: str, tensor: torch.Tensor) -> TensorSpec:
    return TensorSpec(name, tensor.dtype, tuple(tensor.shape))


class SafetensorsWriter:
    """A file that takes the tensors of `specs` in any order, whole or as stretches of rows, and appears when complete.

    A context manager. Nothing is left of it when an error ends the block. The header states the checksum of every
    tensor (see `checksum`), unless `metadata` does so already.
    """

    def __init__(self, path: Path, specs: Iterable[TensorSpec], metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        # Wider data types come first, so that every tensor begins at a multiple of its numbers' size.
        ordered = sorted(specs, key=lambda spec: -spec.dtype.itemsize)
        self._specs, self._metadata = ordered, dict(metadata or {})
        self._sums = None if SUMS in self._metadata else {spec.name: 0 for spec in ordered}
        self._header = self._header_now()
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._left: dict[str, tuple[TensorSpec, int]] = {}
        self._end: dict[str, int] = {}
        at = len(self._header)
        for spec in ordered:
            at += spec.size
            self._left[spec.name], self._end[spec.name] = (spec, spec.size), at

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        self._file.write(self._header)
        return self

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Write a tensor, or its next rows. Raises ValueError for one that is not wanted or too large."""
        spec, left = self._left.get(name, (None, 0))
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        if spec is None or spec.dtype != tensor.dtype or data.nbytes > left:
            raise ValueError(
                f"{name} ({tensor.dtype}, {data.nbytes} bytes) is not what is left to write: {spec}, {left}"
            )
        self._file.seek(self._end[name] - left)
        self._file.write(data)
        if self._sums is not None:
            self._sums[name] = add(self._sums[name], word_sum(data, at=spec.size - left))
        self._left[name] = (spec, left - data.nbytes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                unfinished = [name for name, (_, left) in self._left.items() if left]
                if unfinished:
                    raise ValueError(f"{self.path} lacks data of {', '.join(unfinished[:5])}")
                self._file.seek(0)
                self._file.write(self._header_now())
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._part, self.path)
        finally:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._part.unlink()

    def _header_now(self) -> bytes:
        """The header with the sums so far, which take the same room whatever they are."""
        sums = {} if self._sums is None else {SUMS: sums_text(self._sums)}
        return header_bytes(self._specs, self._metadata | sums)


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors that are in memory already."""
    with SafetensorsWriter(path, [spec_of(name, tensor) for name, tensor in tensors.items()], metadata) as writer:
        for name, tensor in tensors.items():
            writer.write(name, tensor)


def header_bytes(specs: Iterable[TensorSpec], metadata: Mapping[str, str]) -> bytes:
    """The start of a file that holds `specs` in this order."""
    entries: dict[str, object] = {"__metadata__": dict(metadata)} if metadata else {}
    at = 0
    for spec in specs:
        entries[spec.name] = {
            "dtype": DTYPE_NAMES[spec.dtype],
            "shape": list(spec.shape),
            "data_offsets": [at, at + spec.size],
        }
        at += spec.size
    text = json.dumps(entries, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    return struct.pack("<Q", len(text)) + text
