"""The zygote's own life and death."""

import json
import os
import signal
import threading

import psutil
import pytest

from editx.processes.failures import ChildFailed
from editx.processes.launcher import Launcher
from tests.processes.harness import PATIENCE_S, Watch, nothing_left_behind
from tests.processes.test_launcher import call, launch


def parent_of(child):
    return psutil.Process(child.pid).ppid()


def test_children_have_what_was_preloaded_and_share_one_parent(zygote, log):
    facts = [json.loads(call(zygote, "facts")) for _ in range(2)]
    assert facts[0]["parent"] == facts[1]["parent"] != os.getpid()
    child = launch(zygote, "wait")
    assert child.socket.recv(1) == b"h"
    assert parent_of(child) == facts[0]["parent"]
    assert psutil.Process(facts[0]["parent"]).num_threads() == 1
    child.kill()
    child.socket.close()
    # The module that does not exist is told about, and harms nobody.
    log.wait_for("No module named 'no_such_module'")


def test_a_killed_zygote_takes_its_children_along_and_is_replaced(zygote):
    children = [launch(zygote, "spin") for _ in range(3)]
    for child in children:
        assert child.socket.recv(1) == b"h"
    watch = Watch([child.pid for child in children])
    first = parent_of(children[0])
    os.kill(first, signal.SIGKILL)
    assert [child.wait(PATIENCE_S) for child in children] == [-signal.SIGKILL] * 3
    assert watch.wait_all_dead(PATIENCE_S) == []
    for child in children:
        child.socket.close()
    assert call(zygote, "echo", b"again") == b"again"
    after = [json.loads(call(zygote, "facts"))["parent"] for _ in range(2)]
    assert after[0] == after[1]
    assert after[0] not in (first, os.getpid())


def test_a_zygote_that_hangs_is_killed_and_the_launch_goes_round_it(log):
    with nothing_left_behind(), Launcher(on_log=log, zygote_timeout=3) as launcher:
        child = launch(launcher, "wait")
        child.socket.recv(1)
        hung = parent_of(child)
        os.kill(hung, signal.SIGSTOP)
        assert json.loads(call(launcher, "facts"))["parent"] == os.getpid()
        assert child.wait(PATIENCE_S) == -signal.SIGKILL
        child.socket.close()
        assert json.loads(call(launcher, "facts"))["parent"] not in (hung, os.getpid())


def test_a_hurried_child_does_not_wait_for_the_zygotes_imports(log, slow_import):
    with nothing_left_behind(), Launcher(preload=["tests.processes.slow"], on_log=log) as launcher:
        assert json.loads(call(launcher, "facts", hurried=True))["parent"] == os.getpid()
        slow_import()
        zygote = json.loads(call(launcher, "facts"))["parent"]
        assert zygote != os.getpid()
        assert json.loads(call(launcher, "facts", hurried=True))["parent"] == zygote


def test_the_time_of_a_call_begins_when_its_child_runs(log, slow_import):
    with Launcher(preload=["tests.processes.slow"], on_log=log, zygote_timeout=4) as launcher:
        assert call(launcher, "echo", b"late", timeout=4) == b"late"


def test_a_call_whose_child_died_with_its_zygote_is_made_again(zygote):
    call(zygote, "echo")
    assert call(zygote, "bring_down", args={"launcher": os.getpid()}, hurried=True) == b"done"
    with pytest.raises(ChildFailed, match="was killed by SIGKILL") as failure:
        call(zygote, "bring_down", args={"launcher": os.getpid()})
    assert failure.value.exit_code is None, "nobody is to blame the payload"


@pytest.mark.parametrize("round_", range(3))
def test_launches_under_way_while_the_zygote_is_killed_all_succeed_or_say_so(zygote, round_):
    """Launches race the kill; none may hang, and a child that was reported started is reported dead."""
    children, lock = [], threading.Lock()

    def one():
        child = launch(zygote, "spin")
        with lock:
            children.append(child)

    child = launch(zygote, "wait")
    child.socket.recv(1)
    threads = [threading.Thread(target=one) for _ in range(8)]
    for thread in threads[:4]:
        thread.start()
    os.kill(parent_of(child), signal.SIGKILL)
    for thread in threads[4:]:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
        assert not thread.is_alive()
    assert len(children) == 8
    for started in [child, *children]:
        started.kill()
        assert started.wait(PATIENCE_S) == -signal.SIGKILL
        started.socket.close()
