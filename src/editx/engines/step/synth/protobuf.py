"""Writes protobuf messages: what sentencepiece models and ONNX files are made of."""

from __future__ import annotations

import struct

_VARINT, _BYTES, _FIXED32 = 0, 2, 5


def varint(value: int) -> bytes:
    """A whole number; negative ones as their 64-bit complement."""
    value &= 2**64 - 1
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def number(field: int, value: int) -> bytes:
    """A field that holds a whole number, truth value or enumeration."""
    return varint(field << 3 | _VARINT) + varint(value)


def real(field: int, value: float) -> bytes:
    """A field that holds a 32-bit floating-point number."""
    return varint(field << 3 | _FIXED32) + struct.pack("<f", value)


def data(field: int, value: bytes | str) -> bytes:
    """A field that holds bytes, text or a message."""
    value = value.encode() if isinstance(value, str) else value
    return varint(field << 3 | _BYTES) + varint(len(value)) + value


def data_start(field: int, size: int) -> bytes:
    """The start of a field of `size` bytes which the caller writes behind it."""
    return varint(field << 3 | _BYTES) + varint(size)
