"""Weights come out of ONNX files as they went in, and no bytes do any harm."""

from __future__ import annotations

import contextlib
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editx.engines.step.onnx_weights import OnnxGraph, read_onnx
from editx.engines.step.tokenizers.semantic_onnx import semantic_weights
from editx.errors import LoadFailed
from tests import golden
from tests.engines.step import onnx_writer as write

FLOATS = np.arange(6, dtype=np.float32).reshape(2, 3)


def read(tmp_path: Path, content: bytes) -> OnnxGraph:
    path = tmp_path / "some.onnx"
    path.write_bytes(content)
    return read_onnx(path)


def refused(tmp_path: Path, content: bytes, because: str) -> None:
    with pytest.raises(LoadFailed, match=because) as caught:
        read(tmp_path, content)
    assert "some.onnx" in caught.value.message
    assert "fetch the published file again" in caught.value.message


def test_initializers_and_nodes_come_back(tmp_path: Path) -> None:
    nodes = [
        write.node("/a/MatMul", "MatMul", ["x", "w"]),
        write.node("/a/Add", "Add", ["b", "/a/MatMul_output_0"]),
        write.node("/c", "Constant", [], attributes=[write.tensor_attribute("value", np.array([7]))]),
        write.node("/bn", "BatchNormalization", ["x"], attributes=[write.float_attribute("epsilon", 0.5)]),
    ]
    graph = read(tmp_path, write.model(nodes, [write.tensor("w", FLOATS), write.tensor("b", FLOATS[0])]))
    assert np.array_equal(graph.weight_of("/a/MatMul"), FLOATS)
    assert np.array_equal(graph.weight_of("/a/Add"), FLOATS[0])
    assert np.array_equal(graph.initializer("w"), FLOATS)
    assert graph.node("/c").tensors["value"].tolist() == [7]
    assert graph.node("/bn").floats == {"epsilon": 0.5}
    assert graph.constant("/c_output_0") is not None
    assert graph.constant("x") is None
    assert not graph.initializer("w").flags.writeable


def test_identity_nodes_are_seen_through(tmp_path: Path) -> None:
    nodes = [write.node(f"i{at}", "Identity", [f"v{at}"], [f"v{at + 1}"]) for at in range(5)]
    graph = read(tmp_path, write.model(nodes, [write.tensor("v0", FLOATS)]))
    found = graph.constant("v5")
    assert found is not None
    assert np.array_equal(found, FLOATS)


def test_identity_nodes_in_a_circle_end(tmp_path: Path) -> None:
    nodes = [write.node("i", "Identity", ["a"], ["b"]), write.node("j", "Identity", ["b"], ["a"])]
    assert read(tmp_path, write.model(nodes, [])).constant("a") is None


def test_values_kept_as_numbers_are_read_too(tmp_path: Path) -> None:
    packed = write.number(1, 3) + write.number(2, write.INT64) + write.message(8, "packed")
    packed += write.message(7, write.varint(5) + write.varint(-6) + write.varint(2**40))
    single = write.number(1, 2) + write.number(2, write.INT32) + write.message(8, "single")
    single += write.number(5, 1) + write.number(5, -2)
    floats = write.message(1, write.varint(2) + write.varint(3)) + write.number(2, write.FLOAT)
    floats += write.message(8, "floats") + write.message(4, FLOATS.tobytes())
    graph = read(tmp_path, write.model([], [packed, single, floats]))
    assert graph.initializers["packed"].tolist() == [5, -6, 2**40]
    assert graph.initializers["single"].tolist() == [1, -2]
    assert np.array_equal(graph.initializers["floats"], FLOATS)


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    graph = read(tmp_path, write.model([write.node("/n", "MatMul", ["x", "y"])], []))
    for ask, word in ((graph.node, "/gone"), (graph.initializer, "gone.weight"), (graph.weight_of, "/n")):
        with pytest.raises(LoadFailed, match=word):
            ask(word)


def test_a_missing_and_an_empty_file_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match=r"none\.onnx cannot be read"):
        read_onnx(tmp_path / "none.onnx")
    with pytest.raises(LoadFailed, match="cannot be read"):
        read_onnx(tmp_path)
    refused(tmp_path, b"", "is empty")


def header(name: str, dims: list[int], kind: int = write.FLOAT) -> bytes:
    return b"".join(write.number(1, size) for size in dims) + write.number(2, kind) + write.message(8, name)


@pytest.mark.parametrize(
    ("initializer", "because"),
    [
        (header("t", [2, 2]) + write.message(9, b"\0" * 15), "has 15 bytes, not 16"),
        (header("t", [2**62, 2**62]) + write.message(9, b"\0" * 4), "has 4 bytes"),
        (header("t", [-1]) + write.message(9, b""), "negative shape"),
        (header("t", [1] * 9) + write.message(9, b"\0" * 4), "more than 8 dimensions"),
        (header("t", [1], 99) + write.message(9, b"\0" * 4), "data type 99"),
        (header("t", [1]) + write.message(13, b"elsewhere"), "kept in another file"),
        (header("t", [1]) + write.number(14, 1), "kept in another file"),
        (header("t", [3]), "has 0 values"),
        (header("t", [1]) + write.message(4, b"\0" * 5), "ends within a value"),
        (header("t", [1], write.INT32) + write.number(5, 2**40), "outside int32"),
        (header("t" * 5000, [1]) + write.message(9, b"\0" * 4), "name is longer"),
        (write.message(8, b"\xff\xfe"), "not UTF-8"),
        (write.number(8, 5), "where a message is expected"),
        (write.message(2, b"x"), "where a number is expected"),
        (header("t", [1], write.INT64) + write.message(7, b"\x01" * (2**20 + 1)), "list of integers is longer"),
        (header("t", [1], write.INT64) + write.message(7, b"\x01" * 2**20) * 2, "integers one by one"),
    ],
)
def test_tensors_that_lie_are_refused(tmp_path: Path, initializer: bytes, because: str) -> None:
    refused(tmp_path, write.model([], [initializer]), because)


@pytest.mark.parametrize(
    ("content", "because"),
    [
        (b"not a model at all", "wire type|bytes and|number"),
        (write.number(1, 8), "0 graphs"),
        (write.message(7, b"") * 2, "2 graphs"),
        (write.message(7, b"\xff" * 11), "longer than 64 bits"),
        (write.message(7, b"\x80"), "ends within a number"),
        (write.message(7, b"\x00\x00"), "number 0"),
        (write.message(7, b"\x0b"), "wire type 3"),
        (write.message(7, b"\x0a\xff\xff\xff\xff\x7f"), "are left"),
        (write.message(7, write.message(5, write.tensor("w", FLOATS)) * 2), "there twice"),
        (write.message(7, b"\x10\x01" * 200_001), "more than 200000 fields"),
    ],
)
def test_files_that_are_no_models_are_refused(tmp_path: Path, content: bytes, because: str) -> None:
    refused(tmp_path, content, because)


def real_file() -> Path:
    return golden.matching("vq06_mini*.onnx")[0]


def test_a_truncated_file_is_refused(tmp_path: Path) -> None:
    content = real_file().read_bytes()
    for end in [*range(1, 2000, 7), *range(2000, len(content) - 4000, 997)]:
        refused(tmp_path, content[:end], "damaged or truncated")


def test_no_flipped_bytes_do_harm(tmp_path: Path) -> None:
    """Any damage ends as weights or as LoadFailed, and takes no memory to speak of."""
    content = real_file().read_bytes()
    rng = random.Random(20)
    outcomes = {"read": 0, "refused": 0}
    tracemalloc.start()
    try:
        for _ in range(150):
            damaged = bytearray(content)
            for _ in range(rng.choice([1, 1, 3, 50])):
                damaged[rng.randrange(len(damaged))] = rng.randrange(256)
            try:
                semantic_weights(read(tmp_path, bytes(damaged)))
                outcomes["read"] += 1
            except LoadFailed:
                outcomes["refused"] += 1
        assert tracemalloc.get_traced_memory()[1] < 64 * 2**20
    finally:
        tracemalloc.stop()
    assert min(outcomes.values()) > 10


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300))
def test_no_bytes_do_harm(tmp_path: Path, content: bytes) -> None:
    for each in (content, write.message(7, content), write.message(7, write.message(5, content))):
        with contextlib.suppress(LoadFailed):
            read(tmp_path, each)
