"""`editx pull`."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from editx.cli.console import print_json, stderr
from editx.cli.options import AsJson, with_settings
from editx.cli.waiting import cancellable
from editx.settings import Settings

if TYPE_CHECKING:
    from editx.cancellation import Cancellation
    from editx.hub.pull import Pulled, Watcher
    from editx.hub.sources import RemoteFile


@with_settings(("model_path",))
def pull(
    settings: Settings,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="base, awq or bnb; give it again for several. The default is base.", show_default=False),
    ] = None,
    source: Annotated[str, typer.Option(help="The hub: huggingface or modelscope.")] = "huggingface",
    endpoint: Annotated[
        str | None,
        typer.Option(envvar="EDITX_HUB_ENDPOINT", metavar="URL", help="A mirror that answers as the hub does."),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, max=16, help="Files fetched at the same time.")] = 4,
    as_json: AsJson = False,
) -> None:
    """Download the published weights into the model directory.

    Files that are there already are checked and kept; what was interrupted goes on where it stopped. The audio
    tokenizers that all variants need come along.
    """
    from editx.hub.pull import pull as fetch

    with _watcher(as_json) as watcher:

        def work(cancellation: Cancellation) -> list[Pulled]:
            return fetch(
                settings.model_path, variant or ["base"], source=source, endpoint=endpoint, jobs=jobs, watcher=watcher,
                cancellation=cancellation,
            )  # fmt: skip

        pulled = cancellable(work)
    if as_json:
        print_json([
            {
                "directory": str(result.directory), "fetched": result.fetched, "fetched_bytes": result.fetched_bytes,
                "kept": result.kept, "kept_bytes": result.kept_bytes,
            }
            for result in pulled
        ])  # fmt: skip
        return
    for result in pulled:
        print(
            f"{result.directory}: fetched {len(result.fetched)} files, {result.fetched_bytes / 1e6:.1f} MB; "
            f"kept {len(result.kept)}, {result.kept_bytes / 1e6:.1f} MB"
        )


class _Silent:
    """For output that no person looks at."""

    def planned(self, count: int, size: int) -> None: ...

    def advanced(self, file: RemoteFile, done: int) -> None: ...

    def fetched(self, file: RemoteFile) -> None: ...


class _Lines(_Silent):
    """For logs: a line when it begins, and one for each file that is there."""

    def planned(self, count: int, size: int) -> None:
        if count:
            print(f"fetching {count} files, {size / 1e6:.1f} MB", file=sys.stderr, flush=True)

    def fetched(self, file: RemoteFile) -> None:
        said = f"{file.repository.directory}/{file.path}  {file.size / 1e6:.1f} MB"
        print(said, file=sys.stderr, flush=True)


@contextlib.contextmanager
def _watcher(as_json: bool) -> Iterator[Watcher]:
    """Bars on stderr: one for everything, one for each file under way. Where it is no terminal a line for each file,
    and nothing beside JSON."""
    console = stderr()
    if not console.is_terminal:
        yield _Silent() if as_json else _Lines()
        return
    from rich.progress import (
        BarColumn,
        DownloadColumn,
        Progress,
        TaskID,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    columns = (
        TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        TimeRemainingColumn(),
    )  # fmt: skip
    with Progress(*columns, console=console, transient=True) as progress:

        class Bars:
            def __init__(self) -> None:
                self._lock = threading.Lock()
                self._all = progress.add_task("looking at the hub", total=None)
                self._done: dict[RemoteFile, int] = {}
                self._bars: dict[RemoteFile, TaskID] = {}

            def planned(self, count: int, size: int) -> None:
                progress.update(self._all, description=f"{count} files", total=size)

            def advanced(self, file: RemoteFile, done: int) -> None:
                with self._lock:
                    self._done[file] = done
                    if file not in self._bars:
                        self._bars[file] = progress.add_task(file.path.rpartition("/")[2], total=file.size)
                    progress.update(self._bars[file], completed=done, visible=done < file.size)
                    progress.update(self._all, completed=sum(self._done.values()))

            def fetched(self, file: RemoteFile) -> None: ...

        yield Bars()
