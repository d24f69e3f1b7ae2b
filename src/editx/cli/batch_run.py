"""Works through the lines of a batch, several at once, and keeps the journal."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

from editx.cancellation import Cancellation
from editx.cli.console import error_record
from editx.cli.files import make_folder, write_whole
from editx.cli.journal import Journal
from editx.cli.manifest import Line
from editx.cli.orders import Made, Maker, Order
from editx.cli.waiting import counting
from editx.errors import Cancelled, EditXError, QueueFull

RETRY_S = 1.0


class BatchRun:
    """The lines of one run, worked on by several threads; only the calling thread writes the journal."""

    def __init__(self, maker: Maker, folder: Path, variant: str | None, journal: Journal, quiet: bool) -> None:
        self._maker = maker
        self._folder = folder
        self._variant = variant
        self._journal = journal
        self._quiet = quiet

    def all(self, todo: list[Line], total: int, jobs: int, cancellation: Cancellation) -> list[dict[str, Any]]:
        """Work on every line; returns the records of those that failed. Raises Cancelled."""
        failed: list[dict[str, Any]] = []
        left = iter(todo)
        under_way: set[Future[dict[str, Any] | None]] = set()
        with counting(total, total - len(todo), "lines") as (advance, say), ThreadPoolExecutor(jobs) as threads:
            try:
                while True:
                    for line in itertools.islice(left, jobs - len(under_way)):
                        under_way.add(threads.submit(self._one, line, cancellation))
                    if not under_way:
                        break
                    ended, under_way = wait(under_way, return_when=FIRST_COMPLETED)
                    for record in filter(None, (future.result() for future in ended)):
                        self._journal.add(record)
                        advance()
                        if record["status"] == "failed":
                            failed.append(record)
                            self._complain(record, say)
            except BaseException:
                cancellation.cancel("the batch was stopped")
                raise
        cancellation.raise_if_cancelled()
        return failed

    def _complain(self, record: dict[str, Any], say: Callable[[str], None]) -> None:
        if not self._quiet:
            error = record["error"]
            named = f" ({error['param']})" if error["param"] and error["param"] not in error["message"] else ""
            say(f"line {record['line']} ({record['id']}) failed: {error['message']}{named}")

    def _one(self, line: Line, cancellation: Cancellation) -> dict[str, Any] | None:
        """Make one line's file and say how that went; None when it was cancelled and is to be done again."""
        if cancellation.cancelled:
            return None
        began = time.monotonic()
        try:
            made = self._make(line, cancellation)
            write_whole(self._folder / line.out, made.data)
            outcome: dict[str, Any] = {
                "status": "ok", "seconds": round(made.seconds, 3), "variant": made.variant, "seed": made.seed,
                "finish_reason": made.finish_reason,
            }  # fmt: skip
        except Cancelled:
            return None
        except EditXError as error:
            outcome = {"status": "failed", "error": error_record(error)}
        took = round(time.monotonic() - began, 3)
        return {
            "line": line.number,
            "id": line.id,
            "digest": line.digest,
            "out": str(line.out),
            **outcome,
            "took": took,
        }

    def _make(self, line: Line, cancellation: Cancellation) -> Made:
        make_folder((self._folder / line.out).parent)
        order = Order(
            steps=line.steps,
            voice=line.voice,
            recording=line.recording,
            transcript="" if line.voice else line.transcript,
            variant=self._variant,
            seed=line.seed,
            format=line.format,
        )
        while True:
            try:
                return self._maker.make(order, lambda stage: None, cancellation)
            except QueueFull as error:  # others use the model too: that is no fault of the line
                _pause(error.retry_after_s or RETRY_S, cancellation)


def _pause(seconds: float, cancellation: Cancellation) -> None:
    woken = threading.Event()
    forget = cancellation.on_cancel(woken.set)
    woken.wait(seconds)
    forget()
    cancellation.raise_if_cancelled()
