"""The `.pt` parts: converted to safetensors once, into a cache directory, without ever running what a pickle says.

A converted file holds the checksum of each tensor, and in its metadata the source's size and sha256. It has the
modification time of its source, so that an untouched source is believed without being read.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from editx.cancellation import Cancellation
from editx.engines.layout import is_pointer
from editx.engines.record import REMEDY
from editx.engines.step.weights.checksum import SUMS, word_sum
from editx.engines.step.weights.dtypes import DTYPE_NAMES
from editx.engines.step.weights.header import SafetensorsFile, StoredTensor, read_header
from editx.engines.step.weights.reader import DEFAULT_THREADS, ChecksumMismatch, Report, load_into
from editx.engines.step.weights.writer import TensorSpec, spec_of, write_safetensors
from editx.errors import LoadFailed

log = logging.getLogger(__name__)

_FORMAT = "1"
_WRAPPERS = ("state_dict", "model")
_STALE_S = 3600.0
_UNREADABLE = (
    ArithmeticError, AssertionError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError,
    ValueError, struct.error,
)  # fmt: skip
"""What torch is seen to raise for bytes that are no archive of its own."""


def load_pickled_into(
    parameters: Mapping[str, torch.Tensor],
    source: Path,
    cache: Path,
    *,
    prefix: str = "",
    mapping: Callable[[str], str] | None = None,
    ignore: Callable[[str], bool] | None = None,
    threads: int = DEFAULT_THREADS,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Fill parameters from a `.pt` file by way of its converted copy; see `load_into` for the rest.

    Only tensors whose name begins with `prefix` are looked at; names keep it. A converted copy that is damaged is made
    again. Raises LoadFailed as `load_into` does, and when the file is not a state dict that can be read without running
    code.
    """

    def load(*, renew: bool) -> None:
        tensors = converted(source, cache, prefix, renew=renew)
        load_into(
            parameters, tensors, mapping=mapping, ignore=ignore, threads=threads, report=report,
            cancellation=cancellation,
        )  # fmt: skip

    try:
        load(renew=False)
    except ChecksumMismatch as error:
        log.warning("%s; it is made again", error)
        load(renew=True)


def converted(source: Path, cache: Path, prefix: str = "", *, renew: bool = False) -> dict[str, StoredTensor]:
    """The tensors of a `.pt` file in its converted copy, which is made where it is missing, stale or damaged.

    Raises LoadFailed when the source is not a safe state dict, or the cache directory cannot be written.
    """
    target = cache / _name(source, prefix)
    found = None if renew else _current(source, target)
    return (found or _convert(source, target, prefix)).tensors


def read_state_dict(source: Path, prefix: str = "") -> dict[str, torch.Tensor]:
    """The tensors of a `.pt` file whose names begin with `prefix`, mapped, not read. Runs no code.

    Accepts a flat state dict, or one under the key `state_dict` or `model`. Raises LoadFailed for anything else.
    """
    if is_pointer(source):
        raise LoadFailed(f"{source} is a git-LFS pointer, not the file itself; fetch it with `editx pull`")
    try:
        loaded: Any = torch.load(source, map_location="cpu", weights_only=True, mmap=True)
    except FileNotFoundError as error:
        raise LoadFailed(f"{source} is missing; fetch it with `editx pull`") from error
    except pickle.UnpicklingError as error:
        raise LoadFailed(
            f"{source} is refused: it is not a plain state dict but asks to run code or is damaged; "
            "fetch the published file with `editx pull`"
        ) from error
    except _UNREADABLE as error:
        raise LoadFailed(
            f"{source} is not a whole torch archive ({_first_line(error)}); fetch it again with `editx pull`"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(loaded, dict) and isinstance(loaded.get(wrapper), dict):
            loaded = loaded[wrapper]
            break
    if not isinstance(loaded, dict):
        raise LoadFailed(f"{source} holds a {type(loaded).__name__} where a state dict is expected")
    tensors = {
        name: value
        for name, value in loaded.items()
        if isinstance(name, str) and name.startswith(prefix) and isinstance(value, torch.Tensor)
    }
    if not tensors:
        raise LoadFailed(f"{source} holds no tensor whose name begins with {prefix!r}; is it the published file?")
    for name, tensor in tensors.items():
        if tensor.dtype not in DTYPE_NAMES or tensor.layout != torch.strided:
            raise LoadFailed(f"{source} holds {name!r} as {tensor.dtype}, {tensor.layout}, which no weight is")
    return tensors


def _check_members(source: Path) -> None:
    """Raises LoadFailed where a part of the archive does not have its checksum; torch maps it without looking."""
    try:
        with zipfile.ZipFile(source) as archive:
            damaged = archive.testzip()
    except (zipfile.BadZipFile, zlib.error, *_UNREADABLE):
        return  # what is wrong with it torch says better
    if damaged:
        raise LoadFailed(f"{source} is damaged: its part {damaged!r} does not have its checksum; {REMEDY}")


def _convert(source: Path, target: Path, prefix: str) -> SafetensorsFile:
    _check_members(source)
    tensors = {name: tensor.contiguous() for name, tensor in read_state_dict(source, prefix).items()}
    before = source.stat()
    sums = {name: word_sum(_bytes(tensor)) for name, tensor in tensors.items()}
    metadata = {
        "format": _FORMAT,
        "source": source.name,
        "source_size": str(before.st_size),
        "source_sha256": sha256(source),
        SUMS: json.dumps(sums),
    }
    metadata["seal"] = _seal(metadata, [str(spec_of(name, tensor)) for name, tensor in tensors.items()])
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _sweep(target)
        write_safetensors(target, tensors, metadata)
        os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))
    except OSError as error:
        raise LoadFailed(
            f"the copy of {source} cannot be written to {target.parent}: {error.strerror}; name a directory that "
            f"may be written and has {sum(tensor.nbytes for tensor in tensors.values()) / 1e6:.0f} MB free"
        ) from error
    log.info("converted %s to %s", source, target)
    return read_header(target)


def _current(source: Path, target: Path) -> SafetensorsFile | None:
    """The converted copy, if it is whole and of this very source."""
    if not target.is_file():
        return None
    try:
        found = read_header(target)
    except LoadFailed as error:
        log.warning("%s; it is made again", error)
        return None
    specs = [str(spec_of_stored(tensor)) for tensor in found.tensors.values()]
    if found.metadata.get("seal") != _seal(found.metadata, specs):
        log.warning("the header of %s is damaged; it is made again", target)
        return None
    try:
        now = source.stat()
    except OSError as error:
        raise LoadFailed(f"{source} cannot be read: {error.strerror}; fetch it with `editx pull`") from error
    if found.metadata["source_size"] != str(now.st_size):
        return None
    if target.stat().st_mtime_ns != now.st_mtime_ns:
        if found.metadata["source_sha256"] != sha256(source):
            return None
        with contextlib.suppress(OSError):  # a cache that may only be read is compared anew each time
            os.utime(target, ns=(now.st_atime_ns, now.st_mtime_ns))
    return found


def sha256(path: Path) -> str:
    """The sha256 of a file, in hexadecimal. Raises LoadFailed when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {error.strerror}") from error


def spec_of_stored(tensor: StoredTensor) -> TensorSpec:
    return TensorSpec(tensor.name, tensor.dtype, tensor.shape)


def _seal(metadata: Mapping[str, str], specs: list[str]) -> str:
    """A checksum of a converted file's header: of its metadata and of what it says of each tensor."""
    said = [*(f"{key}={value}" for key, value in metadata.items() if key != "seal"), *specs]
    return hashlib.sha256("\n".join(sorted(said)).encode()).hexdigest()


def _name(source: Path, prefix: str) -> str:
    place = hashlib.sha256(f"{source.resolve()}\0{prefix}".encode()).hexdigest()[:16]
    return f"{source.stem}-{place}.safetensors"


def _sweep(target: Path) -> None:
    """Remove what killed conversions left behind."""
    for part in target.parent.glob(f".{target.name}.*.part"):
        with contextlib.suppress(FileNotFoundError):
            if time.time() - part.stat().st_mtime > _STALE_S:
                part.unlink()


def _bytes(tensor: torch.Tensor) -> memoryview:
    return tensor.reshape(-1).view(torch.uint8).numpy().data


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
