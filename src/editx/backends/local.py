"""Steps run in worker processes of this machine, one per loaded variant."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

from editx.audio.clip import Clip
from editx.backends.base import Notify, Queued, Waking
from editx.cancellation import Cancellation
from editx.engines.base import Context, Memory, Progress
from editx.engines.catalog import VariantSpec, catalog, find
from editx.errors import Cancelled, LoadFailed, NotFound
from editx.lifecycle import Event, ModelPool, Observer, PoolVariant, gpu
from editx.processes.launcher import Launcher
from editx.processes.limits import Limits
from editx.recipe import AnyStep
from editx.settings import Settings
from editx.worker.client import WorkerFactory
from editx.worker.model import Finished, WorkerModel

GPU_SHARE = 0.9
"""Part of the GPU's memory that models may take when no budget is set."""

_GB = 1e9


class LocalSession:
    """A leased worker. See `backends.base.Session`."""

    def __init__(
        self, variant: _Variant, model: WorkerModel, pool: ModelPool[WorkerModel], queue: float, load: float
    ) -> None:
        self.variant = variant.name
        self.pid: int | None = model.pid
        self.queue_seconds = queue
        self.load_seconds = load
        self._model = model
        self._pool = pool

    def run(self, step: AnyStep, clip: Clip, context: Context) -> Iterator[Progress | Clip | Finished]:
        for item in self._model.run(step, clip, context):
            if isinstance(item, Finished) and item.memory.gpu_peak:
                self._pool.record_peak(self.variant, item.memory.gpu_peak)
            yield item


class _Variant:
    """What the backend knows of one variant besides its place in the pool; also the factory the pool calls."""

    def __init__(self, name: str, backend: LocalBackend) -> None:
        self.name = name
        self.model: WorkerModel | None = None
        self.last_pid: int | None = None
        """Of the worker now, or of the one before, which should have ended."""
        self.listeners: set[Notify] = set()
        self.load_began = 0.0
        self.load_ended = 0.0
        self._backend = backend
        self._factory: WorkerFactory | None = None
        self._loading: object = None
        """A token of the load that is wanted."""

    def __call__(self) -> WorkerModel:
        """Load it as the catalog describes it now: weights may have come or gone since the last time."""
        self._loading = loading = object()
        spec = find(self._backend.catalog(), self.name)
        if spec is None or not spec.available:
            reason = spec.reason if spec else "it is not known any more"
            raise LoadFailed(f"variant {self.name!r} cannot be loaded here: {reason}", param="variant")
        if loading is not self._loading:
            raise Cancelled(f"the load of {self.name} was given up while its files were looked at")
        self._factory = self._backend.worker_factory(spec, self._progress)
        model = self._factory()
        if loading is self._loading:
            self.model, self.last_pid = model, model.pid
        return model

    def cancel(self) -> None:
        """Abort the load under way, for the pool."""
        self._loading = None
        if self._factory is not None:
            self._factory.cancel()

    def _progress(self, progress: Progress) -> None:
        self._backend.sign_of_life(self.name, progress)
        for notify in tuple(self.listeners):
            notify(Waking(self.name, progress))

    def load_within(self, since: float, until: float) -> float:
        """Seconds of the last load that lie between two moments."""
        return max(0.0, min(self.load_ended, until) - max(self.load_began, since))


class LocalBackend:
    """See `backends.base.Backend`. `observer` hears every lifecycle event, on the thread that made it happen."""

    def __init__(self, settings: Settings, launcher: Launcher, observer: Observer) -> None:
        self._settings = settings
        self._launcher = launcher
        self._observer = observer
        specs = self._found()
        self._variants = {spec.name: _Variant(spec.name, self) for spec in specs}
        gpus = gpu.read_gpus()
        total = max((found.total_bytes for found in gpus), default=0)
        self._pool: ModelPool[WorkerModel] = ModelPool(
            [
                PoolVariant(
                    name=spec.name,
                    factory=self._variants[spec.name],
                    memory_bytes=spec.memory_bytes if gpus or settings.gpu_memory_budget else 0,
                    slots=spec.slots,
                    uses_gpu=spec.uses_gpu,
                    idle_timeout=settings.idle_timeout,
                    auto_unload=settings.auto_unload,
                    # The worker's own stall is told first; this is for what comes before it, a hung disk or launch.
                    load_timeout=settings.stall_timeout + launcher.zygote_timeout,
                    drain_timeout=settings.drain_timeout,
                )
                for spec in specs
            ],
            budget_bytes=settings.gpu_memory_budget or round(total * GPU_SHARE) or None,
            max_loaded=settings.max_loaded,
            queue_size=settings.queue_size,
            observer=self._observed,
            settle=gpu.settle,
        )

    def catalog(self) -> tuple[VariantSpec, ...]:
        found = ((spec, spec.reason or self._pool.misfit(spec.name)) for spec in self._found())
        return tuple(replace(spec, reason=reason) for spec, reason in found)

    def _found(self) -> tuple[VariantSpec, ...]:
        """Every variant as its files are now, whether there is room for it or not."""
        settings = self._settings
        return catalog(
            settings.model_path,
            device=settings.device,
            max_batch=settings.max_batch,
            cache=settings.data_dir / "weights",
        )

    def worker_factory(self, spec: VariantSpec, on_progress: Any) -> WorkerFactory:
        """A factory that loads `spec` in a worker process under this backend's settings."""
        limit = self._settings.worker_memory_limit
        return WorkerFactory(
            spec,
            self._launcher,
            stall_timeout=self._settings.stall_timeout,
            limits=Limits(address_space=limit) if limit else None,
            on_progress=on_progress,
        )

    def sign_of_life(self, variant: str, progress: Progress) -> None:
        """A load is getting on."""
        self._pool.sign_of_life(variant, progress.stage, progress.fraction)

    @contextmanager
    def session(
        self, variant: str, *, keep_alive: float | None, cancellation: Cancellation, notify: Notify
    ) -> Iterator[LocalSession]:
        known = self._known(variant)
        cancellation.raise_if_cancelled()
        asked = time.monotonic()
        known.listeners.add(notify)
        try:
            ticket = self._pool.request(variant, keep_alive)
            forget = cancellation.on_cancel(ticket.cancel)
            position = ticket.position
            if position is not None:
                notify(Queued(position))
            try:
                lease = ticket.result()
            finally:
                forget()
        finally:
            known.listeners.discard(notify)
        granted = time.monotonic()
        load = known.load_within(asked, granted)
        with lease as model:
            yield LocalSession(known, model, self._pool, queue=granted - asked - load, load=load)

    def status(self) -> dict[str, dict[str, Any]]:
        rows = self._pool.status()
        return {spec.name: self._row(spec, rows[spec.name]) for spec in self.catalog()}

    def load(self, variant: str) -> None:
        self._known(variant)
        self._pool.load(variant)

    def unload(self, variant: str, *, now: bool = False) -> None:
        self._known(variant)
        self._pool.unload(variant, now=now)

    def admit(self) -> None:
        self._pool.admit()

    def close(self) -> None:
        self._pool.shutdown()

    def _known(self, variant: str) -> _Variant:
        known = self._variants.get(variant)
        if known is None:
            raise NotFound(f"there is no variant {variant!r}; known: {', '.join(self._variants)}", param="variant")
        return known

    def _observed(self, event: Event) -> None:
        known = self._variants[event.name]
        if event.kind == "loading":
            known.load_began = event.time
        elif event.kind in ("ready", "load_failed"):
            known.load_ended = event.time
        elif event.kind == "unloaded":
            known.model = None
        self._observer(event)

    def _row(self, spec: VariantSpec, status: dict[str, object]) -> dict[str, Any]:
        """The pool's status of one variant, with what its process holds."""
        known = self._variants[spec.name]
        model = known.model if status["state"] != "unloaded" else None
        memory = model.memory() if model else Memory()
        on_gpu = gpu.process_bytes(known.last_pid) if known.last_pid and spec.uses_gpu else 0
        # In a container the driver tells nothing of a process by the number it has here: it holds this much at least.
        on_gpu = max(on_gpu or 0, memory.gpu_reserved)
        return {
            **status,
            "title": spec.title,
            "available": spec.available,
            "reason": spec.reason or None,
            "pid": model.pid if model else None,
            "gpu_memory_allocated_gb": round(memory.gpu_allocated / _GB, 3),
            "gpu_memory_reserved_gb": round(memory.gpu_reserved / _GB, 3),
            "gpu_memory_process_gb": round(on_gpu / _GB, 3),
            "ram_process_gb": round(model.rss_bytes() / _GB, 3) if model else 0.0,
        }
