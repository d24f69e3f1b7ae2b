"""The header of a safetensors file: which tensors it holds and where, checked against the file before any is read.

Imports no torch, which takes seconds: whoever only wants to know whether the files are whole need not wait for it.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from editx.engines.layout import WEIGHT_INDEX, is_pointer, weight_files
from editx.engines.shards import read_index
from editx.engines.step.weights.checksum import SUMS
from editx.errors import LoadFailed

if TYPE_CHECKING:
    import torch

_LONGEST_HEADER = 100_000_000
_MOST_DIMENSIONS = 16
AGAIN = "it is damaged or truncated; fetch it again with `editx pull`"

_ITEM_BYTES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """A tensor in a file. `kind`: the data type as the file calls it. `offset`, `size`: bytes, `offset` from the file's
    start. `word_sum`: of its bytes, where the file says (see `checksum`)."""

    path: Path
    name: str
    kind: str
    shape: tuple[int, ...]
    offset: int
    size: int
    word_sum: int | None = None

    @property
    def dtype(self) -> torch.dtype:
        from editx.engines.step.weights.dtypes import DTYPES

        return DTYPES[self.kind]


@dataclass(frozen=True, slots=True)
class SafetensorsFile:
    """One safetensors file, its tensors in the order of their bytes. `header`: the bytes up to the first of them."""

    path: Path
    metadata: dict[str, str]
    tensors: dict[str, StoredTensor]
    header: bytes


class Damaged(Exception):
    """The bytes are not what the format says."""


def read_header(path: Path) -> SafetensorsFile:
    """Read which tensors `path` holds.

    Raises LoadFailed that names the file when it cannot be opened, is a git-LFS pointer, is truncated or longer than
    its header says, or when the header is not one: every byte of data belongs to exactly one tensor.
    """
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(0)
            if is_pointer(path):
                raise LoadFailed(f"{path} is a git-LFS pointer, not the file itself; fetch it with `editx pull`")
            prefix = file.read(8)
            length = struct.unpack("<Q", prefix)[0] if len(prefix) == 8 else 0
            if not 2 <= length <= min(_LONGEST_HEADER, size - 8):
                raise Damaged(f"its {size} bytes cannot hold the {length} bytes of header it announces")
            raw = file.read(length)
        metadata, tensors = _parse(path, raw, size)
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {error.strerror}; fetch it with `editx pull`") from error
    except Damaged as error:
        raise LoadFailed(f"{path} is not a whole safetensors file: {error}; {AGAIN}") from error
    return SafetensorsFile(path, metadata, tensors, prefix + raw)


def open_files(paths: Iterable[Path]) -> dict[str, StoredTensor]:
    """The tensors of several files as one. Raises LoadFailed for a damaged file or a name that is there twice."""
    tensors: dict[str, StoredTensor] = {}
    for path in paths:
        for name, tensor in read_header(path).tensors.items():
            if name in tensors:
                raise LoadFailed(f"{path} and {tensors[name].path} both hold {name!r}; remove the file that is stale")
            tensors[name] = tensor
    return tensors


def open_checkpoint(model: Path) -> dict[str, StoredTensor]:
    """All tensors of the language model in directory `model`, whatever its shards.

    Raises LoadFailed for missing or damaged files, and where files and index disagree.
    """
    tensors = open_files(weight_files(model))
    index = model / WEIGHT_INDEX
    if index.is_file():
        for key, shard in read_index(index).items():
            if key not in tensors:
                raise LoadFailed(f"{model / shard} does not hold {key!r}, which {index.name} puts there; {AGAIN}")
            if tensors[key].path.name != shard:
                raise LoadFailed(f"{tensors[key].path} holds {key!r}, which {index.name} puts into {shard}; {AGAIN}")
    return tensors


def _parse(path: Path, raw: bytes, size: int) -> tuple[dict[str, str], dict[str, StoredTensor]]:
    try:
        document: Any = json.loads(raw.decode("utf-8"), object_pairs_hook=_no_twins)
    except (ValueError, RecursionError) as error:
        raise Damaged(f"its header is not JSON ({error})") from error
    if not isinstance(document, dict):
        raise Damaged("its header is not a JSON object")
    metadata = document.pop("__metadata__", {})
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise Damaged("its metadata is not a map of texts")
    start = 8 + len(raw)
    sums = _sums(metadata)
    tensors = sorted(
        (_tensor(path, name, entry, start, sums.get(name)) for name, entry in document.items()),
        key=lambda tensor: (tensor.offset, tensor.size),
    )
    at = start
    for tensor in tensors:
        if tensor.offset != at:
            raise Damaged(f"the bytes of {tensor.name!r} begin at {tensor.offset} where {at} is expected")
        at += tensor.size
    if at != size:
        raise Damaged(f"it has {size} bytes, its header describes {at}")
    return metadata, {tensor.name: tensor for tensor in tensors}


def _tensor(path: Path, name: str, entry: Any, start: int, word_sum: int | None) -> StoredTensor:
    try:
        kind, shape, (begin, end) = entry["dtype"], entry["shape"], entry["data_offsets"]
    except (KeyError, TypeError, ValueError) as error:
        raise Damaged(f"the entry of {name!r} lacks dtype, shape or data_offsets") from error
    width = _ITEM_BYTES.get(kind) if isinstance(kind, str) else None
    if width is None:
        raise Damaged(f"{name!r} has the data type {kind!r}, which no weight has")
    if not isinstance(shape, list) or len(shape) > _MOST_DIMENSIONS or not all(_is_count(length) for length in shape):
        raise Damaged(f"{name!r} has the shape {shape!r}")
    if not (_is_count(begin) and _is_count(end)) or end - begin != math.prod(shape) * width:
        raise Damaged(f"{name!r} of shape {shape} does not fill the bytes {begin!r} to {end!r}")
    return StoredTensor(path, name, kind, tuple(shape), start + begin, end - begin, word_sum)


def _sums(metadata: Mapping[str, str]) -> dict[str, int]:
    if SUMS not in metadata:
        return {}
    try:
        sums: Any = json.loads(metadata[SUMS])
    except ValueError as error:
        raise Damaged("its checksums are not JSON") from error
    if not isinstance(sums, dict) or not all(_is_count(value) for value in sums.values()):
        raise Damaged("its checksums are not numbers")
    return sums


def _is_count(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _no_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is there twice")
    return found
