"""Reads tensors from files into parameters that exist already: several threads, no mapping, no second copy in memory.

Measured against `torch.load` and memory-mapped safetensors by `bench/load.py`. Where a parameter lies in main memory,
is contiguous and has the stored data type, the bytes go straight into it. Otherwise they pass through a ring of a few
reused buffers (pinned for CUDA, so that the copy runs beside the next read), and are cast on the way.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import torch

from editx.cancellation import Cancellation
from editx.engines.record import REMEDY
from editx.engines.step.weights.checksum import WORD, add, word_sum
from editx.engines.step.weights.header import AGAIN, StoredTensor
from editx.engines.step.weights.staging import Staging
from editx.errors import LoadFailed

PIECE_BYTES = 8 * 2**20
BLOCK_BYTES = 2 * 2**20
"""What is read before it is summed, so that the sum finds it in the cache. Whole words."""
DEFAULT_THREADS = min(4, os.cpu_count() or 1)
"""More than cores hinder each other where numbers are converted, for which torch has threads of its own."""
_NAMED = 5

Report = Callable[[int, int], None]
"""Told of bytes read so far and bytes in all, on the thread that called."""


class ChecksumMismatch(LoadFailed):
    """The bytes read are not the bytes that were written."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """A stretch of one stored tensor. `target`: that stretch of the parameter; `offset`, `size`: bytes of the file."""

    tensor: StoredTensor
    target: torch.Tensor
    offset: int
    size: int


def load_into(
    parameters: Mapping[str, torch.Tensor],
    tensors: Mapping[str, StoredTensor],
    *,
    mapping: Callable[[str], str] | None = None,
    ignore: Callable[[str], bool] | None = None,
    threads: int = DEFAULT_THREADS,
    direct: bool = True,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Fill every parameter with the stored tensor of its name, floating-point numbers cast to the parameter's dtype.

    `mapping` gives the parameter's name for a stored name, `ignore` says which stored names are not wanted. A parameter
    may be a view into a larger one, such as the rows of a fused projection. `direct=False` sends everything through the
    ring. Raises LoadFailed, naming file, key and remedy, unless names match exactly (0 missing, 0 unexpected), shapes
    are equal and data types compatible; and for files that end early or cannot be read. Raises Cancelled.
    """
    pairs = _match(parameters, tensors, mapping, ignore)
    pieces = [piece for stored, target in pairs for piece in _cut(stored, target)]
    with ExitStack() as stack:
        files = {path: _open(path, stack) for path in {stored.path for stored, _ in pairs}}
        work = _Reading(pieces, files, direct=direct)
        work.run(max(1, min(threads, len(pieces))), report, cancellation)
    for stored, _ in pairs:
        if stored.word_sum is not None and stored.word_sum != work.sums.get(stored.name, 0):
            raise ChecksumMismatch(
                f"{stored.path} is damaged: the bytes of {stored.name!r} do not have their checksum; {REMEDY}"
            )


class _Reading:
    """Threads that take pieces from one list, and the thread that waits for them."""

    def __init__(self, pieces: Sequence[_Piece], files: Mapping[Path, int], *, direct: bool) -> None:
        self._pieces = iter(pieces)
        self._files = files
        self._direct = direct
        self._total = sum(piece.size for piece in pieces)
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._done: queue.SimpleQueue[int | BaseException | None] = queue.SimpleQueue()
        self.sums: dict[str, int] = {}

    def run(self, threads: int, report: Report | None, cancellation: Cancellation | None) -> None:
        workers = [threading.Thread(target=self._work, name=f"weights-{i}", daemon=True) for i in range(threads)]
        forget = cancellation.on_cancel(self._stop.set) if cancellation else None
        try:
            for worker in workers:
                worker.start()
            self._wait(threads, report)
        finally:
            self._stop.set()
            for worker in workers:
                if worker.ident is not None:
                    worker.join()
            if forget:
                forget()
        if cancellation:
            cancellation.raise_if_cancelled()

    def _wait(self, threads: int, report: Report | None) -> None:
        read = running = 0
        running = threads
        while running:
            news = self._done.get()
            if news is None:
                running -= 1
            elif isinstance(news, BaseException):
                raise news
            else:
                read += news
                if report:
                    report(read, self._total)

    def _work(self) -> None:
        staging = Staging()
        try:
            while not self._stop.is_set():
                with self._lock:
                    piece = next(self._pieces, None)
                if piece is None:
                    break
                self._read(piece, staging)
                self._done.put(piece.size)
            staging.finish()
            self._done.put(None)
        except BaseException as error:
            self._stop.set()
            self._done.put(error)

    def _read(self, piece: _Piece, staging: Staging) -> None:
        target, stored = piece.target, piece.tensor
        straight = (
            self._direct and target.device.type == "cpu" and target.is_contiguous() and target.dtype == stored.dtype
        )
        if straight:
            self._fill(target.reshape(-1).view(torch.uint8).numpy().data, piece)
        else:
            buffer = staging.take(piece.size, target.device)
            self._fill(buffer.numpy().data, piece)
            staging.copy(target, buffer.view(stored.dtype).view(target.shape))

    def _fill(self, data: memoryview, piece: _Piece) -> None:
        if piece.tensor.word_sum is None:
            self._read_into(data, piece, piece.offset)
            return
        total = 0
        for at in range(0, piece.size, BLOCK_BYTES):
            block = data[at : at + BLOCK_BYTES]
            self._read_into(block, piece, piece.offset + at)
            total = add(total, word_sum(block))
        with self._lock:
            self.sums[piece.tensor.name] = add(self.sums.get(piece.tensor.name, 0), total)

    def _read_into(self, data: memoryview, piece: _Piece, offset: int) -> None:
        at, file = 0, self._files[piece.tensor.path]
        while at < len(data):
            try:
                got = os.preadv(file, [data[at:]], offset + at)
            except OSError as error:
                raise LoadFailed(f"{piece.tensor.path} cannot be read: {error.strerror}") from error
            if got == 0:
                raise LoadFailed(f"{piece.tensor.path} ends within {piece.tensor.name!r}; {AGAIN}")
            at += got


def _cut(stored: StoredTensor, target: torch.Tensor) -> Iterator[_Piece]:
    """Pieces of a tensor. What is not contiguous comes in one, since only its whole has the stored shape."""
    if not target.is_contiguous() or stored.size <= PIECE_BYTES:
        if stored.size:
            yield _Piece(stored, target, stored.offset, stored.size)
        return
    flat, width = target.view(-1), stored.dtype.itemsize
    step = PIECE_BYTES // WORD * WORD // width
    for first in range(0, flat.numel(), step):
        part = flat[first : first + step]
        yield _Piece(stored, part, stored.offset + first * width, part.numel() * width)


def _match(
    parameters: Mapping[str, torch.Tensor],
    tensors: Mapping[str, StoredTensor],
    mapping: Callable[[str], str] | None,
    ignore: Callable[[str], bool] | None,
) -> list[tuple[StoredTensor, torch.Tensor]]:
    """Stored tensors with their parameters, in the order of the files. Raises LoadFailed for any difference."""
    pairs: list[tuple[StoredTensor, torch.Tensor]] = []
    found: dict[str, StoredTensor] = {}
    unexpected: list[StoredTensor] = []
    for key, stored in tensors.items():
        if ignore and ignore(key):
            continue
        name = mapping(key) if mapping else key
        if name not in parameters:
            unexpected.append(stored)
            continue
        if name in found:
            raise LoadFailed(
                f"{stored.path} holds {found[name].name!r} and {key!r}, which are the same weight; {AGAIN}"
            )
        found[name] = stored
        target = parameters[name].detach()
        _check(stored, target)
        pairs.append((stored, target))
    where = ", ".join(sorted({str(stored.path) for stored in tensors.values()})) or "the checkpoint"
    missing = [name for name in parameters if name not in found]
    if missing or unexpected:
        differences = [
            f"{len(names)} {what}: {', '.join(map(repr, names[:_NAMED]))}{', …' if len(names) > _NAMED else ''}"
            for what, names in (("missing", missing), ("unexpected", [stored.name for stored in unexpected]))
            if names
        ]
        raise LoadFailed(f"{where} does not hold this model's weights: {'; '.join(differences)}; {AGAIN}")
    pairs.sort(key=lambda pair: (str(pair[0].path), pair[0].offset))
    return pairs


def _check(stored: StoredTensor, target: torch.Tensor) -> None:
    if stored.shape != tuple(target.shape):
        raise LoadFailed(
            f"{stored.path} holds {stored.name!r} with the shape {stored.shape}; "
            f"the model's configuration asks for {tuple(target.shape)}; {AGAIN}"
        )
    castable = stored.dtype.is_floating_point and target.dtype.is_floating_point
    if stored.dtype != target.dtype and not castable:
        raise LoadFailed(f"{stored.path} holds {stored.name!r} as {stored.dtype}, {target.dtype} is expected; {AGAIN}")


def _open(path: Path, stack: ExitStack) -> int:
    try:
        file = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {error.strerror}; fetch it with `editx pull`") from error
    stack.callback(os.close, file)
    return file
