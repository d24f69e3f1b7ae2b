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

from editx.engines.step.weights.header import DTYPE_NAMES

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
    """A file that takes the tensors of `specs` one by one, whole or as stretches of rows, and appears when complete.

    A context manager. Nothing is left of it when an error ends the block. Tensors of wider data types are laid out
    first, as other readers of the format want it, so write in the order of `order`.
    """

    def __init__(self, path: Path, specs: Iterable[TensorSpec], metadata: Mapping[str, str] | None = None) -> None:
        self.path = path
        self.order = sorted(specs, key=lambda spec: -spec.dtype.itemsize)
        self._part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
        self._metadata = dict(metadata or {})
        self._left = [(spec, spec.size) for spec in reversed(self.order)]

    def __enter__(self) -> Self:
        self._file = self._part.open("xb")
        self._file.write(header_bytes(self.order, self._metadata))
        return self

    def write(self, name: str, tensor: torch.Tensor) -> None:
        """Append the next tensor, or its next rows. Raises ValueError out of order or when it does not fit."""
        spec, left = self._left[-1] if self._left else (None, 0)
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        if spec is None or spec.name != name or spec.dtype != tensor.dtype or data.nbytes > left:
            raise ValueError(
                f"{name} ({tensor.dtype}, {data.nbytes} bytes) is not what comes next: {spec}, {left} left"
            )
        self._file.write(data)
        if data.nbytes == left:
            self._left.pop()
        else:
            self._left[-1] = (spec, left - data.nbytes)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                if self._left:
                    raise ValueError(f"{len(self._left)} tensors of {self.path} were not written")
                self._file.flush()
                os.fsync(self._file.fileno())
                self._file.close()
                os.replace(self._part, self.path)
        finally:
            self._file.close()
            with contextlib.suppress(FileNotFoundError):
                self._part.unlink()


def write_safetensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, str] | None = None
) -> None:
    """Write tensors that are in memory already."""
    with SafetensorsWriter(path, [spec_of(name, tensor) for name, tensor in tensors.items()], metadata) as writer:
        for spec in writer.order:
            writer.write(spec.name, tensors[spec.name])


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
