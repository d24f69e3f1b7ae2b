"""The same contract with real threads and real time; bounds are generous, waits are for events."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from editx import LazyModelManager, ModelPool
from editx.errors import LoadFailed, ModelUnloaded, ShuttingDown
from editx.lifecycle import Event, PoolVariant
from tests.lifecycle.simulation import Factory, Model


def threads_of(name: str) -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(f"editx-{name}")]


class Gate:
    """A factory that starts when it is called and ends when it is let through."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.made = Factory()

    def __call__(self) -> Model:
        self.entered.set()
        assert self.open.wait(60)
        return self.made()


class Heard:
    """An observer that lets a test wait for an event."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = threading.Condition()

    def __call__(self, event: Event) -> None:
        with self._changed:
            self.events.append(event)
            self._changed.notify_all()

    def wait_for(self, kind: str, count: int = 1) -> Event:
        with self._changed:
            assert self._changed.wait_for(lambda: len(self.of(kind)) >= count, 30), f"no {kind} within 30 s"
        return self.of(kind)[count - 1]

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.kind == kind]


def test_many_first_callers_share_one_load() -> None:
    gate = Gate()
    with LazyModelManager(gate, name="share") as manager, ThreadPoolExecutor(16) as callers:
        models = [callers.submit(manager.get_model) for _ in range(16)]
        assert gate.entered.wait(30)
        gate.open.set()
        assert {model.result(30) for model in models} == {gate.made.made[0]}
    assert threads_of("share") == []


def test_status_is_answered_at_once_while_a_factory_blocks() -> None:
    gate = Gate()
    manager = LazyModelManager(gate, name="blocked")
    ticket = manager.request()
    assert gate.entered.wait(30)
    began = time.monotonic()
    for _ in range(100):
        assert manager.get_status()["state"] == "loading"
        assert not manager.is_loaded()
    assert time.monotonic() - began < 2  # twenty times what it may take, for a busy machine
    gate.open.set()
    assert ticket.result(30).held
    assert manager.shutdown()


def test_status_is_answered_at_once_while_a_close_blocks() -> None:
    closing, go = threading.Event(), threading.Event()

    class Slow(Model):
        def close(self) -> None:
            closing.set()
            assert go.wait(60)

    manager = LazyModelManager(Slow, name="closing")
    manager.get_model()
    unloader = threading.Thread(target=manager.force_unload)
    unloader.start()
    assert closing.wait(30)
    assert manager.get_status()["state"] == "unloading"
    assert manager.force_unload(timeout=0.01) is False
    go.set()
    unloader.join(30)
    assert manager.shutdown()


def test_an_idle_model_is_unloaded_soon_after_it_is_due_and_no_thread_is_left() -> None:
    heard = Heard()
    manager = LazyModelManager(Factory(), idle_timeout=0.3, name="idle", observer=heard)
    with manager.lease(), manager.lease():
        pass
    released = heard.wait_for("release", 2)
    unloading = heard.wait_for("unloading")
    heard.wait_for("unloaded")
    assert 0.3 <= unloading.time - released.time < 2
    assert manager.shutdown()
    assert threads_of("idle") == []


def test_an_idle_manager_has_no_thread_at_all() -> None:
    manager = LazyModelManager(Factory(), idle_timeout=None, name="still")
    manager.get_model()
    assert manager._threads.join(30)  # the load's own thread, on its way out
    assert threads_of("still") == []
    assert manager.is_loaded()
    assert manager.shutdown()


def test_a_lease_that_is_not_to_be_had_in_time_leaves_nothing_behind() -> None:
    gate = Gate()
    manager = LazyModelManager(gate, name="patience")
    with pytest.raises(TimeoutError, match=r"within 0\.05 s"):
        manager.lease(timeout=0.05)
    assert manager.get_status()["queued"] == 0
    gate.open.set()
    with manager.lease(timeout=30) as model:
        assert model is gate.made.made[0]
    assert gate.made.calls == 1
    assert manager.shutdown()


def test_force_unload_waits_for_the_leases_of_other_threads() -> None:
    leased, go = threading.Event(), threading.Event()
    factory = Factory()
    manager = LazyModelManager(factory, name="drain")

    def use() -> int:
        with manager.lease() as model:
            leased.set()
            assert go.wait(60)
            return model.closed

    with ThreadPoolExecutor(2) as others:
        user = others.submit(use)
        assert leased.wait(30)
        unloader = others.submit(manager.force_unload)
        assert manager.force_unload(timeout=0.05) is False
        go.set()
        assert user.result(30) == 0
        assert unloader.result(30) is True
    assert factory.made[0].closed == 1
    assert manager.shutdown()


def test_a_drain_ends_at_its_deadline() -> None:
    manager = LazyModelManager(Factory(), drain_timeout=0.1, name="deadline")
    lease = manager.lease()
    assert manager.force_unload() is True
    assert lease.revoked
    with pytest.raises(ModelUnloaded):
        _ = lease.model
    assert manager.shutdown()


def test_a_factory_that_hangs_fails_whoever_waits() -> None:
    gate = Gate()
    manager = LazyModelManager(gate, load_timeout=0.1, close_timeout=0.1, name="hung")
    with pytest.raises(LoadFailed, match="no sign of life"):
        manager.get_model()
    assert manager.shutdown() is False  # nothing can end a thread that hangs in foreign code
    gate.open.set()
    assert manager.shutdown() is True
    assert gate.made.made[0].closed == 1
    assert threads_of("hung") == []


def test_shutdown_answers_whoever_waits_in_another_thread() -> None:
    gate = Gate()
    manager = LazyModelManager(gate, name="waiting")
    with ThreadPoolExecutor(4) as callers:
        waiting = [callers.submit(manager.request().result) for _ in range(4)]
        assert gate.entered.wait(30)
        with ThreadPoolExecutor(1) as other:
            down = other.submit(manager.shutdown)
            for call in waiting:
                with pytest.raises(ShuttingDown):
                    call.result(30)
            gate.open.set()
            assert down.result(30) is True
    assert gate.made.made[0].closed == 1
    assert threads_of("waiting") == []


def test_a_model_may_end_its_own_manager() -> None:
    """shutdown() from a job or a timer of the manager itself must not wait for itself."""
    done = threading.Event()
    manager: LazyModelManager[Model]

    def observer(event: Event) -> None:
        if event.kind == "unloaded":
            manager.shutdown()
            done.set()

    manager = LazyModelManager(Factory(), idle_timeout=0.01, name="self", observer=observer)
    manager.get_model()
    assert done.wait(30)
    assert manager.shutdown()


def test_a_pool_leaves_no_thread() -> None:
    factories = {name: Factory(label=name) for name in "ab"}
    with ModelPool(
        [PoolVariant(name, factory, memory_bytes=6) for name, factory in factories.items()], budget_bytes=10
    ) as pool:
        for _ in range(5):
            for name in factories:
                with pool.lease(name, timeout=30) as model:
                    assert model.label == name
        pool.load("a", timeout=30)
        assert pool.unload("a", timeout=30)
    assert threads_of("pool") == []
    assert all(model.closed == 1 for factory in factories.values() for model in factory.made)


USER_SCRIPT = """
import sys, threading
from editx import LazyModelManager

closed = threading.Event()

class Model:
    def __init__(self):
        print("loading")
    def run(self, text):
        return text.upper()
    def close(self):
        print("closing")
        closed.set()

manager = LazyModelManager(model_factory=Model, idle_timeout=0.2, auto_unload=True)
assert not manager.is_loaded()
print(manager.get_model().run("hello"))
status = manager.get_status()
assert status["loaded"] and status["auto_unload"] is True and status["idle_timeout"] == 0.2
assert f"{status['idle_time']:.1f} {status['time_until_unload']:.1f}" == "0.0 0.2"
assert closed.wait(30)
assert not manager.is_loaded()
manager.get_model()
manager.force_unload()
assert not manager.is_loaded()
manager.shutdown()
manager.shutdown()
assert "torch" not in sys.modules
"""


def test_a_plain_script_can_use_it_alone() -> None:
    command = [sys.executable, "-W", "error", "-c", USER_SCRIPT]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stderr == ""
    assert done.returncode == 0
    assert done.stdout.split() == ["loading", "HELLO", "closing", "loading", "closing"]


def test_a_script_that_forgets_to_shut_down_still_ends() -> None:
    script = "from editx import LazyModelManager\nLazyModelManager(object, idle_timeout=600).get_model()"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("make", [lambda: LazyModelManager(Factory(), name="speed"), None])
def test_leasing_what_is_loaded_is_quick(make: Callable[[], LazyModelManager[Model]] | None) -> None:
    if make is not None:
        owner: LazyModelManager[Model] | ModelPool[Model] = make()
        lease = owner.lease
    else:
        owner = pool = ModelPool([PoolVariant("a", Factory())])
        lease = lambda: pool.lease("a")  # noqa: E731
    with lease():
        pass
    began = time.perf_counter()
    for _ in range(2000):
        with lease():
            pass
    assert (time.perf_counter() - began) / 2000 < 200e-6  # ten times the target, for a busy machine
    assert owner.shutdown()


@contextlib.contextmanager
def no_threads() -> Iterator[None]:
    """No thread can be started inside: each would need a stack that no address space holds."""
    before = threading.stack_size(1 << 47)
    try:
        with pytest.raises(RuntimeError, match="can't start new thread"):
            threading.Thread(target=print).start()
        yield
    finally:
        threading.stack_size(before)


def test_without_threads_jobs_are_done_by_whoever_asks_and_deadlines_are_late() -> None:
    heard = Heard()
    manager = LazyModelManager(Factory(), idle_timeout=0.01, load_timeout=30, close_timeout=30, observer=heard)
    with no_threads():
        for _ in range(3):
            with manager.lease(timeout=0):
                assert manager.is_loaded()
            assert manager.force_unload(timeout=0)
        manager.lease(timeout=0).release()
        assert manager.is_loaded(), "nobody was there to unload it"
    manager.get_status()
    heard.wait_for("unloaded", 4)
    assert manager.shutdown()
