"""Reads which pieces of a sentencepiece model are user-defined; the package itself does not tell."""

from __future__ import annotations

from collections.abc import Iterator

_USER_DEFINED = 4
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5


def user_defined(model: bytes) -> dict[int, str]:
    """Id and text of every user-defined piece in a serialized model. Raises ValueError for bytes that are none.

    In the file, field 1 of the outer message is a piece, repeated in order of id; in a piece, field 1 is its text and
    field 3 its type.
    """
    pieces = (value for field, value in _fields(model) if field == 1 and isinstance(value, bytes))
    found: dict[int, str] = {}
    for i, piece in enumerate(pieces):
        fields = dict(_fields(piece))
        text = fields.get(1, b"")
        if fields.get(3) == _USER_DEFINED and isinstance(text, bytes):
            found[i] = text.decode()
    return found


def _fields(message: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Number and value of each field of a protobuf message."""
    at = 0
    while at < len(message):
        key, at = _varint(message, at)
        kind = key & 7
        if kind == _VARINT:
            value, at = _varint(message, at)
            yield key >> 3, value
            continue
        if kind == _BYTES:
            size, at = _varint(message, at)
        elif kind in (_FIXED32, _FIXED64):
            size = 4 if kind == _FIXED32 else 8
        else:
            raise ValueError(f"field type {kind} at byte {at} is none of protobuf's")
        if at + size > len(message):
            raise ValueError(f"the field at byte {at} is cut off")
        yield key >> 3, message[at : at + size]
        at += size


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while at < len(message):
        byte = message[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
        shift += 7
    raise ValueError("the last number is cut off")
