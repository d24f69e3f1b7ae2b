"""Reads weights out of an ONNX file, without onnxruntime and without trusting the file.

Only what finding weights takes is decoded: initializers, and nodes with their names, inputs, outputs and constants.
Every length is checked against the bytes that are there, so any bytes end as a graph or as LoadFailed.
"""

from __future__ import annotations

import math
import mmap
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editx.errors import LoadFailed

_MOST_FIELDS = 200_000
_MOST_NUMBERS = 2**20  # in a tensor kept as protobuf integers; weights are raw bytes
_LONGEST_NAME = 4096
_MOST_DIMENSIONS = 8
_LONGEST_CHAIN = 64

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_DTYPES = {1: "<f4", 2: "u1", 3: "i1", 6: "<i4", 7: "<i8", 9: "u1", 10: "<f2", 11: "<f8"}
_TYPED_FIELDS = {1: 4, 6: 5, 7: 7, 11: 10}
"""ONNX data type to the field that holds its values when they are not raw bytes."""


@dataclass(frozen=True, slots=True)
class Node:
    """One operation. `tensors` are its tensor attributes (a Constant's value), `floats` its scalar float attributes."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    tensors: dict[str, NDArray[Any]] = field(default_factory=dict)
    floats: dict[str, float] = field(default_factory=dict)


class _Broken(Exception):
    """The bytes are not what the format says."""


@dataclass(frozen=True, slots=True)
class OnnxGraph:
    """Initializers and nodes of one ONNX file; arrays are read-only views of the mapped file.

    `nodes` is by name and holds named nodes only; `producers` finds the node that makes a value.
    """

    path: Path
    initializers: dict[str, NDArray[Any]]
    nodes: dict[str, Node]
    producers: dict[str, Node]

    def node(self, name: str) -> Node:
        """The node called `name`. Raises LoadFailed if there is none."""
        found = self.nodes.get(name)
        if found is None:
            raise self.broken(f"has no node {name!r}")
        return found

    def constant(self, value: str) -> NDArray[Any] | None:
        """What `value` always is: an initializer or a Constant, also behind Identity nodes; None if it varies."""
        for _ in range(_LONGEST_CHAIN):
            if value in self.initializers:
                return self.initializers[value]
            node = self.producers.get(value)
            if node is None:
                return None
            if node.op == "Constant":
                return node.tensors.get("value")
            if node.op != "Identity" or not node.inputs:
                return None
            value = node.inputs[0]
        return None

    def weight_of(self, name: str) -> NDArray[Any]:
        """The one constant input of the node called `name`, such as the matrix of a MatMul or the bias of an Add."""
        found = [array for value in self.node(name).inputs if (array := self.constant(value)) is not None]
        if len(found) != 1:
            raise self.broken(f"gives node {name!r} {len(found)} constant inputs where exactly one is expected")
        return found[0]

    def initializer(self, name: str) -> NDArray[Any]:
        """The initializer called `name`. Raises LoadFailed if there is none."""
        found = self.constant(name)
        if found is None:
            raise self.broken(f"has no initializer {name!r}")
        return found

    def broken(self, what: str) -> LoadFailed:
        """The error that says what is wrong with this file."""
        return LoadFailed(f"{self.path} {what}; fetch the published file again")


def read_onnx(path: Path) -> OnnxGraph:
    """Read the graph of an ONNX file.

    Weights are mapped, not copied, so this takes milliseconds for any size. Raises LoadFailed, naming the file, if it
    cannot be opened, is truncated, is not ONNX, or keeps its weights elsewhere.
    """
    try:
        with path.open("rb") as file:
            mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except OSError as error:
        raise LoadFailed(f"{path} cannot be read: {error}; put the published file there") from error
    except ValueError as error:  # mmap refuses empty files
        raise LoadFailed(f"{path} is empty; fetch the published file again") from error
    try:
        return _graph(path, memoryview(mapped))
    except _Broken as error:
        raise LoadFailed(
            f"{path} is not a whole ONNX file: {error}; it is damaged or truncated, fetch the published file again"
        ) from error


def _graph(path: Path, data: memoryview) -> OnnxGraph:
    graphs = [value for number, value in _fields(data) if number == 7 and isinstance(value, memoryview)]
    if len(graphs) != 1:
        raise _Broken(f"it holds {len(graphs)} graphs instead of one")
    initializers: dict[str, NDArray[Any]] = {}
    nodes: dict[str, Node] = {}
    producers: dict[str, Node] = {}
    for number, value in _fields(graphs[0]):
        if number == 5:
            name, array = _tensor(_bytes(value))
            if name in initializers:
                raise _Broken(f"initializer {name!r} is there twice")
            initializers[name] = array
        elif number == 1:
            node = _node(_bytes(value))
            if node.name:
                nodes.setdefault(node.name, node)
            producers.update(dict.fromkeys(node.outputs, node))
    return OnnxGraph(path, initializers, nodes, producers)


def _node(data: memoryview) -> Node:
    inputs: list[str] = []
    outputs: list[str] = []
    name = op = ""
    tensors: dict[str, NDArray[Any]] = {}
    floats: dict[str, float] = {}
    for number, value in _fields(data):
        if number == 1:
            inputs.append(_text(value))
        elif number == 2:
            outputs.append(_text(value))
        elif number == 3:
            name = _text(value)
        elif number == 4:
            op = _text(value)
        elif number == 5:
            _attribute(_bytes(value), tensors, floats)
    return Node(name, op, tuple(inputs), tuple(outputs), tensors, floats)


def _attribute(data: memoryview, tensors: dict[str, NDArray[Any]], floats: dict[str, float]) -> None:
    name = ""
    number_value: float | None = None
    tensor: NDArray[Any] | None = None
    for number, value in _fields(data):
        if number == 1:
            name = _text(value)
        elif number == 2 and isinstance(value, bytes):
            number_value = float(struct.unpack("<f", value)[0])
        elif number == 5:
            _, tensor = _tensor(_bytes(value))
    if tensor is not None:
        tensors[name] = tensor
    if number_value is not None:
        floats[name] = number_value


def _tensor(data: memoryview) -> tuple[str, NDArray[Any]]:
    name, kind = "", 0
    shape: list[int] = []
    raw: memoryview | None = None
    typed: dict[int, list[memoryview | bytes | int]] = {}
    for number, value in _fields(data):
        if number == 1:
            shape.extend(_integers(value))
        elif number == 2:
            kind = _integer(value)
        elif number == 8:
            name = _text(value)
        elif number == 9:
            raw = _bytes(value)
        elif number in (4, 5, 7, 10):
            typed.setdefault(number, []).append(value)
        elif number == 13 or (number == 14 and value != 0):
            raise _Broken(f"tensor {name!r} is kept in another file")
        if len(shape) > _MOST_DIMENSIONS:
            raise _Broken(f"tensor {name!r} has more than {_MOST_DIMENSIONS} dimensions")
    if kind not in _DTYPES:
        raise _Broken(f"tensor {name!r} is of ONNX data type {kind}, which no weight has")
    dtype = np.dtype(_DTYPES[kind])
    if any(size < 0 for size in shape):
        raise _Broken(f"tensor {name!r} has the negative shape {tuple(shape)}")
    count = math.prod(shape)
    if raw is not None:
        if len(raw) != count * dtype.itemsize:
            raise _Broken(f"tensor {name!r} of shape {tuple(shape)} has {len(raw)} bytes, not {count * dtype.itemsize}")
        array = np.frombuffer(raw, dtype) if count else np.zeros(0, dtype)
    else:
        array = _typed(name, dtype, typed.get(_TYPED_FIELDS.get(kind, 0), []))
        if len(array) != count:
            raise _Broken(f"tensor {name!r} of shape {tuple(shape)} has {len(array)} values")
    array = array.reshape(shape)
    array.flags.writeable = False
    return name, array


def _typed(name: str, dtype: np.dtype[Any], parts: list[memoryview | bytes | int]) -> NDArray[Any]:
    """Values of a tensor that are kept as protobuf numbers: packed, or one a field."""
    if dtype.kind == "f":
        packed = b"".join(bytes(part) for part in parts if not isinstance(part, int))
        if len(packed) % dtype.itemsize:
            raise _Broken(f"tensor {name!r} ends within a value")
        return np.frombuffer(packed, dtype).copy()
    values: list[int] = []
    for part in parts:
        values.extend(_integers(part))
        if len(values) > _MOST_NUMBERS:
            raise _Broken(f"tensor {name!r} holds more than {_MOST_NUMBERS} integers one by one")
    bounds = np.iinfo(dtype)
    if any(not bounds.min <= number <= bounds.max for number in values):
        raise _Broken(f"tensor {name!r} holds a number outside {dtype}")
    return np.array(values, dtype)


def _fields(data: memoryview) -> Iterator[tuple[int, memoryview | bytes | int]]:
    """Field numbers and values of one message: int for a varint, bytes for a fixed number, memoryview for the rest."""
    at = count = 0
    while at < len(data):
        count += 1
        if count > _MOST_FIELDS:
            raise _Broken(f"a message has more than {_MOST_FIELDS} fields")
        key, at = _varint(data, at)
        number, kind = key >> 3, key & 7
        if number == 0:
            raise _Broken("a field has the number 0")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == _BYTES:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise _Broken(f"a field has the unknown wire type {kind}")
        if size > len(data) - at:
            raise _Broken(f"a field needs {size} bytes and {len(data) - at} are left")
        piece = data[at : at + size]
        at += size
        yield number, piece if kind == _BYTES else bytes(piece)


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise _Broken("it ends within a number")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & (2**64 - 1), at
    raise _Broken("a number is longer than 64 bits")


def _bytes(value: memoryview | bytes | int) -> memoryview:
    if not isinstance(value, memoryview):
        raise _Broken("a number stands where a message is expected")
    return value


def _integer(value: memoryview | bytes | int) -> int:
    if not isinstance(value, int):
        raise _Broken("a message stands where a number is expected")
    return value - 2**64 if value >= 2**63 else value


def _integers(value: memoryview | bytes | int) -> list[int]:
    """Whole numbers of a repeated field: one, or several packed."""
    if isinstance(value, int):
        return [_integer(value)]
    numbers: list[int] = []
    data, at = _bytes(value), 0
    if len(data) > _MOST_NUMBERS:
        raise _Broken(f"a list of integers is longer than {_MOST_NUMBERS} bytes")
    while at < len(data):
        number, at = _varint(data, at)
        numbers.append(_integer(number))
    return numbers


def _text(value: memoryview | bytes | int) -> str:
    data = _bytes(value)
    if len(data) > _LONGEST_NAME:
        raise _Broken(f"a name is longer than {_LONGEST_NAME} bytes")
    try:
        return bytes(data).decode()
    except UnicodeDecodeError as error:
        raise _Broken("a name is not UTF-8") from error
