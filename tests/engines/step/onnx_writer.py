"""Writes ONNX files as small as tests need them: protobuf by hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

FLOAT, INT32, INT64 = 1, 6, 7


def varint(value: int) -> bytes:
    value &= 2**64 - 1
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def number(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes | str) -> bytes:
    content = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(content)) + content


def tensor(name: str, array: NDArray[Any]) -> bytes:
    kind = {"f": FLOAT, "i": INT64}[array.dtype.kind]
    array = array.astype("<f4" if kind == FLOAT else "<i8")
    dims = b"".join(number(1, size) for size in array.shape)
    return dims + number(2, kind) + message(8, name) + message(9, array.tobytes())


def float_attribute(name: str, value: float) -> bytes:
    return message(1, name) + varint(2 << 3 | 5) + np.float32(value).tobytes()


def tensor_attribute(name: str, array: NDArray[Any]) -> bytes:
    return message(1, name) + message(5, tensor("", array))


def node(
    name: str, op: str, inputs: Sequence[str], outputs: Sequence[str] = (), attributes: Sequence[bytes] = ()
) -> bytes:
    parts = [message(1, value) for value in inputs]
    parts += [message(2, value) for value in outputs or [f"{name}_output_0"]]
    parts += [message(3, name), message(4, op)]
    parts += [message(5, attribute) for attribute in attributes]
    return b"".join(parts)


def model(nodes: Sequence[bytes], initializers: Sequence[bytes]) -> bytes:
    graph = [message(1, each) for each in nodes] + [message(5, each) for each in initializers]
    return number(1, 8) + message(7, b"".join(graph)) + message(8, number(2, 17))
