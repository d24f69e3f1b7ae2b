"""The server's side of workers: a factory that loads one variant in a process of its own."""

from __future__ import annotations

import threading
from collections.abc import Callable

from editx.cancellation import Cancellation
from editx.engines.base import Progress
from editx.engines.catalog import VariantSpec
from editx.errors import LoadFailed
from editx.processes.failures import ChildFailed
from editx.processes.launcher import Launcher
from editx.processes.limits import Limits
from editx.worker.model import Finished, WorkerModel

__all__ = ["HOST_MODULE", "Finished", "WorkerFactory", "WorkerModel"]

HOST_MODULE = "editx.worker.host"
"""What a zygote should preload for workers to start quickly."""


class WorkerFactory:
    """Calling it loads `spec` in a new worker process and returns its `WorkerModel`. Thread-safe.

    `stall_timeout`: seconds without a sign of life after which a worker is killed. `grace`: seconds a worker may take
    to close before it is killed. `on_progress` hears of the load's progress, on the thread that called the factory.
    """

    def __init__(
        self,
        spec: VariantSpec,
        launcher: Launcher,
        *,
        stall_timeout: float,
        grace: float = 2.0,
        limits: Limits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
    ) -> None:
        self._spec = spec
        self._launcher = launcher
        self._stall_timeout = stall_timeout
        self._grace = grace
        self._limits = limits
        self._on_progress = on_progress or (lambda progress: None)
        self._lock = threading.Lock()
        self._loads: set[Cancellation] = set()

    def __call__(self) -> WorkerModel:
        """Load the model. Blocks until it is ready.

        Raises LoadFailed or OutOfMemory when the engine did or no process could be had, ModelCrashed when the process
        ended, Stalled without a sign of life for the stall timeout, Cancelled after `cancel`. No process is left then.
        """
        load = Cancellation()
        with self._lock:
            self._loads.add(load)
        try:
            return self._load(load)
        finally:
            with self._lock:
                self._loads.discard(load)

    def cancel(self) -> None:
        """Abort every load under way, killing its process. Returns at once; does nothing when there is none."""
        with self._lock:
            loads = list(self._loads)
        for load in loads:
            load.cancel(f"the load of {self._spec.name} was aborted")

    def _load(self, load: Cancellation) -> WorkerModel:
        spec = self._spec
        try:
            child = self._launcher.launch(f"{HOST_MODULE}:main", label=spec.name, limits=self._limits)
        except ChildFailed as error:
            raise LoadFailed(f"no process could be started for {spec.name}: {error}") from error
        try:
            model = WorkerModel(child, spec.name, stall_timeout=self._stall_timeout, grace=self._grace)
        except RuntimeError as error:  # the system has no thread left for it
            child.kill()
            child.socket.close()
            raise LoadFailed(f"{spec.name} could not be loaded: {error}") from error
        try:
            model.open(spec.entry, spec.options, self._on_progress, load)
        except BaseException:
            model.kill()
            model.close()
            raise
        return model
