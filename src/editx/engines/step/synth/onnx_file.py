"""Writes ONNX files: initializers and the nodes that use them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from editx.engines.step.synth.protobuf import data, data_start, number

_FLOAT, _INT32, _INT64 = 1, 6, 7
_KINDS = {"float32": _FLOAT, "int32": _INT32, "int64": _INT64}
_IR_VERSION, _OPSET = 8, 13
_TENSOR_ATTRIBUTE = 4

Dimension = int | str


class OnnxFile:
    """Collects a graph, then writes it; the arrays are not copied."""

    def __init__(self) -> None:
        self._parts: list[bytes | NDArray[Any]] = []
        self._generated = 1500

    def initializer(self, name: str, array: NDArray[Any]) -> str:
        """Add a weight."""
        array = np.ascontiguousarray(array)
        start = _tensor_start(name, array)
        self._parts += [data_start(5, len(start) + array.nbytes) + start, array]
        return name

    def generated(self, op: str, array: NDArray[Any]) -> str:
        """Add a weight that an exporter had no name for."""
        self._generated += 1
        return self.initializer(f"onnx::{op}_{self._generated}", array)

    def node(self, op: str, name: str, inputs: Sequence[str]) -> str:
        """Add an operation; returns the name of its output."""
        output = f"{name}_output_0"
        self._parts.append(_node(op, name, inputs, output, b""))
        return output

    def constant(self, name: str, array: NDArray[Any]) -> str:
        """Add a Constant node."""
        output = f"{name}_output_0"
        array = np.ascontiguousarray(array)
        value = data(1, "value") + data(5, _tensor_start("", array) + array.tobytes()) + number(20, _TENSOR_ATTRIBUTE)
        self._parts.append(_node("Constant", name, (), output, data(5, value)))
        return output

    def port(self, *, output: bool, name: str, kind: str, shape: Sequence[Dimension]) -> str:
        """Add an input or output of the whole graph."""
        dimensions = b"".join(
            data(1, number(1, length) if isinstance(length, int) else data(2, length)) for length in shape
        )
        kind_and_shape = data(1, number(1, _KINDS[kind]) + data(2, dimensions))
        self._parts.append(data(12 if output else 11, data(1, name) + data(2, kind_and_shape)))
        return name

    def write(self, path: Path) -> None:
        title = data(2, "main_graph")
        size = len(title) + sum(part.nbytes if isinstance(part, np.ndarray) else len(part) for part in self._parts)
        with path.open("wb") as file:
            file.write(number(1, _IR_VERSION) + data_start(7, size) + title)
            for part in self._parts:
                file.write(part.reshape(-1).view(np.uint8).data if isinstance(part, np.ndarray) else part)
            file.write(data(8, data(1, "") + number(2, _OPSET)))


def _tensor_start(name: str, array: NDArray[Any]) -> bytes:
    """A tensor message up to its values."""
    shape = b"".join(number(1, length) for length in array.shape)
    return shape + number(2, _KINDS[array.dtype.name]) + data(8, name) + data_start(9, array.nbytes)


def _node(op: str, name: str, inputs: Sequence[str], output: str, attributes: bytes) -> bytes:
    fields = b"".join(data(1, value) for value in inputs) + data(2, output) + data(3, name) + data(4, op)
    return data(1, fields + attributes)
