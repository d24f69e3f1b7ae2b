"""The voices that come with the package, read-only."""

from __future__ import annotations

import wave
from pathlib import Path

import msgspec

BUILTIN_DIRECTORY = Path(__file__).parent.parent / "builtin_voices"
INDEX = "index.json"


class BuiltinVoice(msgspec.Struct, frozen=True):
    """One entry of `index.json`; `file` lies beside it."""

    name: str
    title: str
    locale: str
    transcript: str
    file: str
    description: str = ""


def read_builtin(directory: Path) -> list[BuiltinVoice]:
    """The entries of `index.json` in `directory`, in its order; empty where there is none. Raises msgspec's
    ValidationError for an index of another form, which is a defect of the package."""
    path = directory / INDEX
    return msgspec.json.decode(path.read_bytes(), type=list[BuiltinVoice]) if path.is_file() else []


def length_of(path: Path) -> tuple[int, int] | None:
    """Samples and rate of a flac or wav of the package, by its header; None for other kinds."""
    if path.suffix == ".wav":
        with wave.open(str(path), "rb") as file:
            return file.getnframes(), file.getframerate()
    with path.open("rb") as raw:
        head = raw.read(26)
    if head[:4] != b"fLaC":
        return None
    # STREAMINFO comes first: 20 bits of rate, 3 of channels, 5 of width, 36 of length.
    packed = int.from_bytes(head[18:26], "big")
    return packed & (1 << 36) - 1, packed >> 44
