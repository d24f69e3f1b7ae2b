"""The folder in which Gradio keeps what visitors upload."""

from __future__ import annotations

import contextlib
from pathlib import Path

UPLOADS = "uploads"
MAX_BYTES = 1_000_000_000


def bound(folder: Path, max_bytes: int = MAX_BYTES) -> None:
    """Delete the oldest files in `folder` while they are more than `max_bytes` together; the latest stays."""
    found = []
    for path in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # Gradio deletes old ones too
            if path.is_file():
                found.append((path.stat().st_mtime_ns, path.stat().st_size, path))
    total = sum(size for _, size, _ in found)
    for _, size, path in sorted(found)[:-1]:
        if total <= max_bytes:
            break
        total -= size
        path.unlink(missing_ok=True)
