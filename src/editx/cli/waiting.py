"""Waiting for work that may take minutes: what is shown meanwhile, and how Ctrl-C ends it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from editx.cancellation import Cancellation
from editx.cli.console import stderr
from editx.cli.orders import Notify, Stage
from editx.errors import Cancelled

T = TypeVar("T")


def cancellable(work: Callable[[Cancellation], T]) -> T:
    """Run `work` and return its result; Ctrl-C and SIGTERM cancel it, wait for its end and raise Cancelled.

    The work has a thread of its own, because a signal that cancels must find no lock of the work held by its thread.
    """
    cancellation = Cancellation()
    terminate = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with ThreadPoolExecutor(1, thread_name_prefix="editx-work") as thread:
            future = thread.submit(work, cancellation)
            try:
                return future.result()
            except KeyboardInterrupt:
                cancellation.cancel("interrupted")
                future.exception()
                raise Cancelled("interrupted") from None
    finally:
        signal.signal(signal.SIGTERM, terminate)


@contextlib.contextmanager
def showing_stages() -> Iterator[Notify]:
    """A progress bar on stderr for one piece of work. Says nothing where stderr is no terminal."""
    console = stderr()
    if not console.is_terminal:
        yield lambda stage: None
        return
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = SpinnerColumn(), TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("starting", total=None)

        def show(stage: Stage) -> None:
            progress.update(task, description=stage.text, total=None if stage.fraction is None else 1.0)
            progress.update(task, completed=stage.fraction or 0.0)

        yield show


@contextlib.contextmanager
def counting(total: int, done: int, what: str) -> Iterator[tuple[Callable[[], None], Callable[[str], None]]]:
    """A progress bar on stderr for many pieces of work: a function that counts one more, and one that says a line.

    Both may be called from any thread. Lines are said everywhere; the bar is shown on a terminal only.
    """
    console = stderr()
    if not console.is_terminal:
        lock = threading.Lock()

        def say(line: str) -> None:
            with lock:
                console.print(line, soft_wrap=True)

        yield (lambda: None), say
        return
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console) as progress:
        task = progress.add_task(what, total=total, completed=done)
        yield (lambda: progress.advance(task)), lambda line: console.print(line, soft_wrap=True)
