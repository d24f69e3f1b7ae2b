"""Everything that can happen to a worker, done to real ones."""

import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import psutil
import pytest

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Progress
from editx.errors import ModelCrashed, Stalled
from editx.lifecycle import ModelPool, PoolVariant
from editx.processes.launcher import Launcher
from editx.worker.client import HOST_MODULE, Finished
from tests.processes.harness import PATIENCE_S, Watch
from tests.worker.conftest import BOTH_WAYS
from tests.worker.test_worker import audio, do, in_thread


class Watcher:
    """Hears of a model's death."""

    def __init__(self, model):
        self.heard = []
        self._event = threading.Event()
        model.watch(self)

    def __call__(self, error):
        self.heard.append(error)
        self._event.set()

    def wait(self):
        assert self._event.wait(PATIENCE_S)
        (error,) = self.heard
        return error


@BOTH_WAYS
def test_a_killed_worker_fails_its_requests_and_tells_its_watcher(load, clip, journal, gate):
    model = load(journal=journal.path, gate=gate.path)
    watcher = Watcher(model)
    joins = [in_thread(lambda i=i: list(do(model, f"gated:{i}", clip))) for i in range(3)]
    for i in range(3):
        journal.expect(f"began {i}")
    os.kill(model.pid, signal.SIGKILL)
    for join in joins:
        with pytest.raises(ModelCrashed, match=rf"^the faulty worker \(pid {model.pid}\) was killed by SIGKILL"):
            join()
    assert "was killed by SIGKILL" in watcher.wait().message
    late = Watcher(model)
    assert isinstance(late.wait(), ModelCrashed)
    with pytest.raises(ModelCrashed):
        next(do(model, "echo", clip))
    model.close()


def test_an_idle_worker_that_dies_is_noticed(load):
    model = load()
    watcher = Watcher(model)
    os.kill(model.pid, signal.SIGTERM)
    assert "was killed by SIGTERM" in watcher.wait().message


def test_a_worker_whose_device_is_lost_ends(load, clip):
    model = load()
    watcher = Watcher(model)
    with pytest.raises(ModelCrashed, match=r"exited with code 70; it last said: .*an illegal memory access$"):
        list(do(model, "lost", clip))
    watcher.wait()


@BOTH_WAYS
@pytest.mark.parametrize(
    ("fault", "text"),
    [
        ("exit", "exited with code 9; it last said: no disk in drive"),
        ("sys.exit", "exited with code 4; it last said: loading faulty"),
        ("kill", "was killed by SIGKILL; it last said: loading faulty"),
    ],
)
def test_a_worker_that_exits_during_its_load(factory, fault, text):
    with pytest.raises(ModelCrashed, match=rf"^the faulty worker \(pid \d+\) {text}$"):
        factory(load=fault)()


def test_a_worker_that_exits_in_the_middle_of_audio(load, clip):
    model = load()
    got = []
    with pytest.raises(ModelCrashed, match="exited with code 5; it last said: leaving early"):
        got.extend(do(model, "exit:5", clip))


def test_a_stopped_worker_is_killed_and_only_the_stalled_request_says_stalled(load, clip, gate, journal):
    model = load(stall_timeout=1.5, journal=journal.path, gate=gate.path)
    watcher = Watcher(model)
    # The reader of this one is not waiting for the worker, so its clock does not run.
    other = do(model, "endless:x", clip)
    next(other)
    with pytest.raises(Stalled, match=r"gave no sign of life for 1\.5 s during clone and was killed"):
        list(do(model, "stop", clip))
    assert "gave no sign of life" in watcher.wait().message
    with pytest.raises(ModelCrashed, match="gave no sign of life"):
        list(other)


@pytest.mark.parametrize("keep_alive", [None, 0])
def test_each_stall_counts_as_one_crash_and_stays_a_stall(factory, clip, keep_alive):
    with ModelPool([PoolVariant("faulty", factory(stall_timeout=0.5))]) as pool:
        for stalls in range(1, 5):
            with pytest.raises(Stalled), pool.lease("faulty", keep_alive) as model:
                list(do(model, "hang", clip))
            assert pool.status()["faulty"]["crashes"] == stalls
        with pool.lease("faulty") as model:
            list(do(model, "echo", clip))
        assert pool.status()["faulty"]["crashes"] == 0


def test_an_engine_that_hangs_is_a_stall_though_its_process_lives(load, clip):
    model = load(stall_timeout=1.5)
    with pytest.raises(Stalled):
        list(do(model, "hang", clip))
    model.close()


def test_an_engine_deaf_to_cancellation_is_killed(load, clip, journal):
    model = load(stall_timeout=1.5, journal=journal.path)
    watcher = Watcher(model)
    cancellation = Cancellation()
    stream = do(model, "deaf", clip, Context(cancellation=cancellation))
    next(stream)
    journal.expect("began")
    cancellation.cancel()
    assert "did not stop within 1.5 s when cancelled and was killed" in watcher.wait().message
    stream.close()


def test_a_flood_of_stderr_delays_nobody(load, clip, log):
    model = load()
    join = in_thread(lambda: list(do(model, "flood:300000", clip)))
    assert audio(do(model, "echo", clip))
    assert audio(join())
    assert len(log.of(model.pid)) < 60_000


@pytest.mark.parametrize(
    ("garbage", "text"),
    [
        ("ff" * 8, "a frame of 18446744073709551615 bytes was announced"),
        ("0300000000000000" + "c1c1c1", "a frame is no message"),
        ("0100000000000000" + "80", "a frame is no message"),
        ("0000000000000000", "a frame is no message"),
    ],
)
def test_garbage_on_the_wire_ends_the_worker_with_its_reason(load, clip, garbage, text):
    model = load()
    with pytest.raises(ModelCrashed, match=f"sent what is no message and was killed .{text}"):
        list(do(model, f"garbage:{garbage}", clip))


def test_a_worker_that_hangs_up_but_stays_is_killed(load, clip):
    model = load()
    with pytest.raises(ModelCrashed, match="closed its socket and was killed"):
        list(do(model, "hangup", clip))


def test_a_grandchild_that_holds_the_socket_hides_no_death(load, clip, gate, journal):
    model = load(gate=gate.path, journal=journal.path)
    stream = do(model, "fork", clip)
    assert next(stream) == Progress("preprocessing")
    grandchild = int(next(stream).stage.split()[1])
    join = in_thread(lambda: list(stream))
    journal.expect("forked")
    gate.write(b"x")
    try:
        with pytest.raises(ModelCrashed, match="exited with code 1"):
            join()
    finally:
        watch = Watch([grandchild])
        os.kill(grandchild, signal.SIGKILL)
        assert watch.wait_all_dead(PATIENCE_S) == []


def test_a_killed_zygote_fails_requests_and_the_next_load_works(launcher, factory, clip, journal):
    make = factory(journal=journal.path)
    model = make()
    watcher = Watcher(model)
    stream = do(model, "endless:a", clip)
    next(stream)
    os.kill(psutil.Process(model.pid).ppid(), signal.SIGKILL)
    assert isinstance(watcher.wait(), ModelCrashed)
    with pytest.raises(ModelCrashed):
        list(stream)
    after = make()
    assert audio(do(after, "echo", clip))
    after.close()


@pytest.mark.parametrize("mode", ["zygote", "plain"])
def test_no_worker_survives_its_server(mode):
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.worker.server", mode],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    with server:
        pids = [int(pid) for pid in server.stdout.readline().split()]
        assert len(pids) == (4 if mode == "zygote" else 3)
        watch = Watch(pids)
        server.send_signal(signal.SIGKILL)
        assert watch.wait_all_dead(2.0) == []


def test_closing_the_launcher_ends_its_workers(factory, launcher, clip):
    model = factory()()
    stream = do(model, "endless:a", clip)
    next(stream)
    launcher.close()
    with pytest.raises(ModelCrashed):
        list(stream)
    model.close()


@BOTH_WAYS
def test_a_hundred_kills_under_load(factory, clip):
    """Every request ends with its result or with a clear error, and (the fixture looks) nothing is left behind."""
    make = factory()
    lanes, rounds, requests = 4, 25, 3
    done, failed, problems = [], [], []

    def ask(model):
        try:
            *_, last = do(model, "echo", clip)
            assert isinstance(last, Finished)
            done.append(last)
        except ModelCrashed as error:
            failed.append(error)
        except BaseException as error:
            problems.append(error)

    def kill_one(moment):
        """Load a worker, send it requests, and kill it after `moment` of them were begun."""
        model = make()
        watcher = Watcher(model)
        threads = [threading.Thread(target=ask, args=(model,)) for _ in range(requests)]
        for thread in threads[:moment]:
            thread.start()
        os.kill(model.pid, signal.SIGKILL)
        for thread in threads[moment:]:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()
        assert "was killed by SIGKILL" in watcher.wait().message
        model.close()

    def lane(seed):
        chance = random.Random(seed)
        for _ in range(rounds):
            kill_one(chance.randint(0, requests))

    for join in [in_thread(lambda seed=seed: lane(seed)) for seed in range(lanes)]:
        join(4 * PATIENCE_S)
    assert problems == []
    assert len(done) + len(failed) == lanes * rounds * requests
    assert len(failed) > 0
    for error in failed:
        assert "was killed by SIGKILL" in error.message


def test_a_load_killed_at_any_moment_ends_with_a_clear_error_or_a_model(launcher, factory, clip):
    """Kills aimed at a load from outside, while several go on at once."""
    begun = threading.Semaphore(0)
    make = factory(on_progress=lambda progress: begun.release())
    outcomes = []

    def one():
        try:
            model = make()
        except ModelCrashed as error:
            outcomes.append(error)
        else:
            outcomes.append(model)
            model.close()

    threads = [threading.Thread(target=one) for _ in range(10)]
    for thread in threads:
        thread.start()
    assert begun.acquire(timeout=PATIENCE_S)
    for child in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if child.ppid() != os.getpid():
                child.kill()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert len(outcomes) == 10


def test_the_server_side_imports_no_engine():
    code = (
        "import sys, editx.worker.client, editx.processes.launcher\n"
        "heavy = {'torch', 'onnxruntime', 'pyworld', 'espeakng_loader', 'editx.worker.host', 'av'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_zygote_that_preloads_the_host_stays_single_threaded(clip):
    with Launcher(preload=[HOST_MODULE]) as launcher:
        child = launcher.launch("tests.processes.entries:wait", label="wait")
        assert child.socket.recv(1) == b"h"
        zygote = psutil.Process(psutil.Process(child.pid).ppid())
        assert zygote.num_threads() == 1
        child.socket.close()
        child.wait(PATIENCE_S)
    assert isinstance(clip, Clip)
