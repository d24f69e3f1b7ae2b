"""One measurement, and how measurements are shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True)
class Row:
    """One stage. `seconds` is ours, `plain` the plain one's, `faster` their ratio with its lowest and highest quarter.

    `audio`: seconds of sound that the stage is about. `share` of the machine's limit. `gpu_bytes`: what torch held on
    the GPU afterwards, `gpu_peak_bytes`: what it had reserved at most, `gpu_process_bytes`: all of the process, CUDA's
    own share included, as the driver counts it.
    """

    stage: str
    seconds: float
    plain: float | None = None
    faster: tuple[float, float, float] | None = None
    audio: float | None = None
    share: float | None = None
    tokens_per_second: float | None = None
    gpu_bytes: int | None = None
    gpu_peak_bytes: int | None = None
    gpu_process_bytes: int | None = None


COLUMNS: dict[str, Callable[[Row], str]] = {
    "stage": lambda row: row.stage,
    "seconds": lambda row: f"{row.seconds:.4f}",
    "real-time factor": lambda row: f"{row.seconds / row.audio:.3f}" if row.audio else "",
    "tokens/s": lambda row: f"{row.tokens_per_second:.1f}" if row.tokens_per_second else "",
    "share of limit": lambda row: f"{row.share:.0%}" if row.share else "",
    "plain": lambda row: f"{row.plain:.4f}" if row.plain else "",
    "times faster (middle half)": lambda row: "{:.2f} ({:.2f} to {:.2f})".format(*row.faster) if row.faster else "",
    "GPU, GB": lambda row: f"{row.gpu_bytes / 1e9:.2f}" if row.gpu_bytes else "",
    "GPU at most, GB": lambda row: f"{row.gpu_peak_bytes / 1e9:.2f}" if row.gpu_peak_bytes else "",
    "GPU by process, GB": lambda row: f"{row.gpu_process_bytes / 1e9:.2f}" if row.gpu_process_bytes else "",
}


def table(rows: Sequence[Row]) -> Table:
    """The rows, without the columns that none of them fills."""
    filled = {name: [show(row) for row in rows] for name, show in COLUMNS.items()}
    kept = {name: cells for name, cells in filled.items() if any(cells)}
    made = Table(*kept)
    for cells in zip(*kept.values(), strict=True):
        made.add_row(*cells)
    return made
