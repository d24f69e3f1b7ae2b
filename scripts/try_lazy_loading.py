"""Walk through the life of a lazily loaded model and watch it: load, share, idle, unload, and again.

    python scripts/try_lazy_loading.py [--idle-timeout 10] [--variant lite] [--model-path models]

The model is a real one, in a worker process of its own: the preview engine unless --variant names another. Every step
prints what it took and the memory of this process and all below it. A step that does not hold ends the walk with 1.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from process_memory import tree_memory

from editx import Clone, LazyModelManager
from editx.audio.clip import Clip
from editx.engines.base import Context
from editx.engines.catalog import VariantSpec, catalog, find
from editx.errors import EditXError, ShuttingDown
from editx.lifecycle import Event
from editx.lifecycle.gpu import process_bytes
from editx.processes.launcher import Launcher
from editx.voices import VoiceLibrary
from editx.worker.client import HOST_MODULE, WorkerFactory, WorkerModel

TEXT = "This model was not there a moment ago."
PATIENCE_S = 30.0
"""How much later than due the idle unload may come before the walk says that it does not come."""


class StepFailed(Exception):
    """Something that a step promises does not hold."""


def expect(holds: bool, promise: str) -> None:
    if not holds:
        raise StepFailed(promise)
    print(f"     {promise}")


def ended(pid: int) -> bool:
    """Whether a process is gone; one whose parent has yet to take note of it holds nothing any more."""
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


class Walk:
    """A manager of one model, what is done with it, and what it reports."""

    def __init__(self, factory: WorkerFactory, name: str, idle_timeout: float, clip: Clip, transcript: str) -> None:
        self.manager: LazyModelManager[WorkerModel] = LazyModelManager(
            factory, idle_timeout, name=name, observer=self._hear
        )
        self.idle_timeout = idle_timeout
        self._clip = clip
        self._context = Context(transcript=transcript, seed=1)
        self._number = 0
        self._moments: dict[str, float] = {}
        self._gone = threading.Event()

    def _hear(self, event: Event) -> None:
        """Every transition is reported; here the last of each kind is kept."""
        self._moments[event.kind] = event.time
        if event.kind == "unloaded":
            self._gone.set()

    def use(self) -> int:
        """Say a sentence with the leased model; returns the process id of the worker that holds it."""
        with self.manager.lease() as model:
            heard = [item for item in model.run(Clone(TEXT), self._clip, self._context) if isinstance(item, Clip)]
            seconds = sum(len(clip.samples) / clip.rate for clip in heard)
            expect(seconds > 0, f"it speaks: {seconds:.1f} s of audio from worker {model.pid}")
            on_gpu = process_bytes(model.pid)
            if on_gpu is not None:
                print(f"     the worker holds {on_gpu / 1e6:.0f} MB of GPU memory")
            return model.pid

    def load_seconds(self) -> float:
        """What the last load took."""
        return float(str(self.manager.get_status()["last_load_seconds"]))

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Announce a step; print what it took and what is in memory afterwards."""
        self._number += 1
        print(f"\n{self._number}. {title}")
        began = time.monotonic()
        try:
            yield
        except (EditXError, StepFailed) as error:
            sys.exit(f"step {self._number} ({title}) does not hold: {error}")
        took = time.monotonic() - began
        status = self.manager.get_status()
        counted = ", ".join(f"{name}={status[name]}" for name in ("state", "loads", "unloads"))
        print(f"   {took:6.2f} s   {counted}   {tree_memory()}", flush=True)

    def count_down(self) -> None:
        """Watch the idle clock until the model is gone. Looking does not restart it."""
        end = time.monotonic() + self.idle_timeout + PATIENCE_S
        while not self._gone.is_set() and time.monotonic() < end:
            left = self.manager.get_status()["time_until_unload"]
            if isinstance(left, float):
                print(f"     unload in {left:.1f} s", flush=True)
            self._gone.wait(min(1.0, self.idle_timeout / 4))
        expect(self._gone.is_set(), "the idle model was unloaded without anybody asking for it")

    def lateness(self) -> float:
        """Seconds between the moment at which the idle model was due to go, and the beginning of its unload."""
        return self._moments["unloading"] - self._moments["release"] - self.idle_timeout


def walk(steps: Walk) -> None:
    manager = steps.manager
    with steps.step(f"create: LazyModelManager(factory, idle_timeout={steps.idle_timeout:g})"):
        expect(not manager.is_loaded(), "nothing is loaded before somebody needs it")
    with steps.step("status: get_status() and is_loaded() answer at once and load nothing"):
        began = time.perf_counter()
        state = manager.get_status()["state"]
        took = (time.perf_counter() - began) * 1e6
        expect(state == "unloaded" and not manager.is_loaded(), f"unloaded still; get_status() took {took:.0f} µs")
    with steps.step("first use: the model is loaded"):
        first = steps.use()
        expect(manager.get_status()["loads"] == 1, f"one load, of {steps.load_seconds():.3f} s")
    with steps.step("second use: it is there already"):
        expect(steps.use() == first, "the same worker answered")
        expect(manager.get_status()["loads"] == 1, "and no load was needed")
    with steps.step(f"idle: {steps.idle_timeout:g} s without use"):
        steps.count_down()
        late = steps.lateness()
        expect(late > -1e-6, f"it went {max(late, 0.0) * 1e3:.0f} ms after it was due, not before")
        expect(ended(first), f"worker {first} has ended, and all its memory went with it")
    with steps.step("use after the unload: it is loaded again"):
        second = steps.use()
        expect(second != first, "in a new worker")
        expect(manager.get_status()["loads"] == 2, f"a second load, of {steps.load_seconds():.3f} s")
    with steps.step("forced unload: force_unload() does not wait for the idle clock"):
        expect(manager.force_unload(), "the unload was carried out")
        expect(not manager.is_loaded() and ended(second), f"worker {second} has ended")
    with steps.step("shutdown: for good, even of a model that is loaded"):
        third = steps.use()
        expect(manager.shutdown(), "shutdown() has closed the model and left no thread")
        expect(ended(third), f"worker {third} has ended")
        try:
            manager.lease()
        except ShuttingDown as error:
            print(f"     who asks now is told: {error}")
        else:
            raise StepFailed("a manager that was shut down gives out no lease")


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--idle-timeout", type=float, default=10.0, help="seconds until an idle model goes")
    parser.add_argument("--variant", choices=("base", "awq", "bnb", "lite"), default="lite")
    parser.add_argument("--model-path", type=Path, default=Path("models"), help="where the published directories are")
    given = parser.parse_args()
    if not given.idle_timeout > 0:
        parser.error("--idle-timeout must be more than 0 seconds for there to be something to watch")
    spec = find(catalog(given.model_path), given.variant)
    if spec is None or not spec.available:
        parser.error(f"variant {given.variant} cannot be loaded: {spec.reason if spec else 'it is not known'}")
    given.spec = spec
    return given


def main() -> None:
    given = options()
    spec: VariantSpec = given.spec
    print(f"{spec.name}: {spec.title}")
    with tempfile.TemporaryDirectory() as directory, VoiceLibrary(directory) as library:
        voice = library.get("alloy")
        clip = voice.clip()
    with Launcher(preload=(HOST_MODULE, spec.entry.partition(":")[0])) as launcher:
        factory = WorkerFactory(spec, launcher, stall_timeout=120.0)
        steps = Walk(factory, spec.name, given.idle_timeout, clip, voice.transcript)
        with steps.manager:
            walk(steps)
    print(f"\nEvery step held. With the workers' launcher closed as well: {tree_memory()}")


if __name__ == "__main__":
    main()
