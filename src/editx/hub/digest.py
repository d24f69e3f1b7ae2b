"""Checksums that hubs state of their files."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Digest:
    """A checksum in hexadecimal. `kind`: sha256 of the file, or the sha1 by which git knows its content."""

    kind: str
    value: str

    def matches(self, path: Path) -> bool:
        """Whether a file has this checksum. Reads all of it."""
        with path.open("rb") as file:
            if self.kind == "sha256":
                found = hashlib.file_digest(file, "sha256")
            else:
                found = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
                while block := file.read(2**20):
                    found.update(block)
        return found.hexdigest() == self.value

    def __str__(self) -> str:
        return f"{self.kind}:{self.value}"
