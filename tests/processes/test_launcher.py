"""Children started for real, by a zygote and as fresh interpreters, and all the ways they can end."""

import errno
import json
import os
import signal
import sys
import threading
import time

import psutil
import pytest

from editx.processes import frames
from editx.processes.failures import ChildFailed, ChildTimedOut
from editx.processes.launcher import Launcher
from editx.processes.limits import Limits
from tests.processes.harness import PATIENCE_S, Watch, nothing_left_behind

ENTRIES = "tests.processes.entries"


def call(launcher, name, payload=b"", timeout=PATIENCE_S, **options):
    return launcher.call(f"{ENTRIES}:{name}", payload, label=name, timeout=timeout, **options)


def launch(launcher, name, **options):
    return launcher.launch(f"{ENTRIES}:{name}", label=name, **options)


@pytest.mark.parametrize("size", [0, 1, 5_000_000])
def test_a_call_returns_what_the_child_answers(launcher, size):
    payload = os.urandom(size)
    assert call(launcher, "echo", payload) == payload


def test_calls_run_side_by_side(launcher):
    payloads = [os.urandom(100_000) for _ in range(6)]
    answers = {}

    def one(i):
        answers[i] = call(launcher, "echo", payloads[i])

    threads = [threading.Thread(target=one, args=(i,)) for i in range(len(payloads))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [answers[i] for i in range(len(payloads))] == payloads


def test_a_child_may_answer_before_it_has_read_everything(launcher):
    assert call(launcher, "answer_without_reading", bytes(5_000_000)) == b"no need to read"


def test_a_child_that_exits_is_named_with_its_code_and_last_words(launcher):
    with pytest.raises(ChildFailed, match=r"^say_and_exit exited with code 3: last words$") as failure:
        call(launcher, "say_and_exit", args={"code": 3})
    assert failure.value.exit_code == 3


def test_an_exception_ends_the_child_with_its_text(launcher, log):
    with pytest.raises(ChildFailed, match="exited with code 1: RuntimeError: something broke"):
        call(launcher, "fail")
    assert any("Traceback" in line for _, _, line in log.lines)


def test_an_entry_that_does_not_exist_is_named(launcher):
    with pytest.raises(ChildFailed, match="no_such_entry"):
        call(launcher, "no_such_entry")


def test_system_exit_keeps_its_code(launcher):
    with pytest.raises(ChildFailed, match="exited with code 7"):
        call(launcher, "leave", args={"code": 7})


def test_a_child_killed_in_the_middle_of_its_answer(launcher):
    with pytest.raises(ChildFailed, match="cut short after 10 of its 1000 bytes") as failure:
        call(launcher, "die_mid_answer")
    assert failure.value.exit_code == -signal.SIGKILL


def test_an_answer_over_the_limit_is_refused(launcher):
    assert len(call(launcher, "big_answer", args={"size": 1000}, max_answer=1000)) == 1000
    with pytest.raises(ChildFailed, match="1001 bytes was announced, and at most 1000"):
        call(launcher, "big_answer", args={"size": 1001}, max_answer=1000)


@pytest.mark.parametrize("payload", [b"", bytes(5_000_000)], ids=["waits for the answer", "waits to send"])
def test_a_child_that_does_not_answer_is_killed(launcher, payload):
    # The greeting of `spin` is no frame; neither the rest of it nor the answer ever comes.
    with pytest.raises(ChildTimedOut, match=r"no answer within 0\.5 s"):
        call(launcher, "spin", payload, timeout=0.5)


def test_a_child_that_ends_its_answer_before_it_began_but_stays_is_killed(launcher):
    with pytest.raises(ChildFailed, match="fall_silent ended the conversation without an answer"):
        call(launcher, "fall_silent")


def test_the_end_of_a_child_is_an_event(launcher):
    child = launch(launcher, "wait")
    assert child.socket.recv(1) == b"h"
    assert child.exit_code is None
    assert child.exit_description() == "is still running"
    ended = threading.Event()
    child.on_exit(ended.set)
    assert not ended.is_set()
    child.socket.sendall(b"\x05")
    assert ended.wait(PATIENCE_S)
    assert child.wait(0) == 5
    assert child.exit_description() == "exited with code 5"
    again = threading.Event()
    child.on_exit(again.set)
    assert again.is_set()
    child.kill()
    child.socket.close()


def test_a_killed_child_is_described_by_its_signal(launcher):
    for signal_ in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        child = launch(launcher, "wait")
        child.socket.recv(1)
        os.kill(child.pid, signal_)
        assert child.wait(PATIENCE_S) == -signal_
        assert child.exit_description() == f"was killed by {signal_.name}"
        child.socket.close()


def test_a_stopped_child_can_be_killed(launcher):
    child = launch(launcher, "wait")
    child.socket.recv(1)
    os.kill(child.pid, signal.SIGSTOP)
    child.kill()
    assert child.wait(PATIENCE_S) == -signal.SIGKILL
    child.socket.close()


def test_a_child_dies_when_its_socket_is_closed_whatever_it_does(launcher):
    child = launch(launcher, "spin")
    child.socket.recv(1)
    child.socket.close()
    assert child.wait(PATIENCE_S) == 70


def test_a_child_has_no_descriptor_but_its_own(launcher):
    with open(os.devnull) as ours:
        os.set_inheritable(ours.fileno(), True)
        neighbour = launch(launcher, "wait")
        facts = json.loads(call(launcher, "facts"))
        neighbour.kill()
        neighbour.socket.close()
    fds = facts["fds"]
    assert fds.pop("0") == "/dev/null"
    assert fds.pop("1") == fds.pop("2")
    assert fds.pop(str(facts["socket"])).startswith("socket:")
    assert fds == {}
    assert facts["path"] == sys.path
    assert facts["comm"] == "facts"


def test_ctrl_c_is_left_to_the_server(launcher):
    assert call(launcher, "interrupted") == b"still here"


def test_address_space_is_counted_from_what_the_child_has(launcher):
    limits = Limits(address_space=256 << 20)
    assert call(launcher, "allocate", args={"size": 128 << 20}, limits=limits) == str(128 << 20).encode()
    assert call(launcher, "allocate", args={"size": 512 << 20}, limits=limits) == b"MemoryError"
    assert call(launcher, "allocate", args={"size": 512 << 20}) == str(512 << 20).encode()


def test_cpu_seconds_end_a_child_that_spins(launcher):
    with pytest.raises(ChildFailed, match="cut short") as failure:
        call(launcher, "spin", limits=Limits(cpu_seconds=1))
    assert failure.value.exit_code == -signal.SIGXCPU


def test_file_size_zero_lets_a_child_write_no_file(launcher, tmp_path):
    path = str(tmp_path / "file")
    assert call(launcher, "write_file", args={"path": path}) == b"written"
    answer = call(launcher, "write_file", args={"path": path}, limits=Limits(file_size=0))
    assert answer == f"OSError {errno.EFBIG}".encode()


def test_every_line_is_logged_with_label_and_pid(launcher, log):
    child = launch(launcher, "say_and_exit", args={"code": 0})
    assert child.wait(PATIENCE_S) == 0
    assert log.lines == [("say_and_exit", child.pid, "first words"), ("say_and_exit", child.pid, "last words")]
    assert child.last_line == "last words"
    child.socket.close()


def test_a_flood_blocks_nobody_and_stays_small(launcher, log):
    assert call(launcher, "echo", b"x") == b"x"
    before = psutil.Process().memory_info().rss
    child = launch(launcher, "flood", args={"lines": 200_000})
    assert call(launcher, "echo", b"meanwhile") == b"meanwhile"
    assert frames.receive(child.socket, 100) == b"done"
    child.socket.close()
    assert child.wait(PATIENCE_S) is not None
    lines = log.of(child.pid)
    assert len(lines) < 60_000
    assert any("more lines within one second were dropped" in line for line in lines)
    assert max(map(len, lines)) <= 4096
    assert child.last_line == "the end"
    assert psutil.Process().memory_info().rss - before < 64 << 20


def test_args_that_are_too_large_are_refused(launcher):
    with pytest.raises(ValueError, match="args of echo take"):
        launch(launcher, "echo", args={"text": "x" * 100_000})


def test_a_callback_that_raises_harms_nobody(launcher, caplog):
    child = launch(launcher, "wait")
    child.on_exit(lambda: 1 / 0)
    child.kill()
    assert child.wait(PATIENCE_S) == -signal.SIGKILL
    child.socket.close()
    assert call(launcher, "echo", b"x") == b"x"
    assert "a callback of the spawner failed" in caplog.text


@pytest.mark.parametrize("zygote", [True, False])
def test_closing_kills_every_child_and_leaves_nothing(zygote):
    with nothing_left_behind():
        launcher = Launcher(zygote=zygote)
        children = [launch(launcher, "wait") for _ in range(3)]
        for child in children:
            child.socket.recv(1)
        os.kill(children[0].pid, signal.SIGSTOP)
        launcher.close()
        assert [child.exit_code for child in children] == [-signal.SIGKILL] * 3
        launcher.close()
        with pytest.raises(ChildFailed, match="launcher is closed"):
            launch(launcher, "wait")
        for child in children:
            child.socket.close()


@pytest.mark.parametrize("zygote", [True, False])
def test_closing_a_launcher_never_used(zygote):
    with nothing_left_behind():
        Launcher(zygote=zygote).close()


def test_a_zygote_makes_launching_cheaper(capsys):
    def median(launcher):
        took = []
        for _ in range(9):
            start = time.perf_counter()
            call(launcher, "echo", b"x")
            took.append(time.perf_counter() - start)
        return sorted(took)[len(took) // 2]

    with Launcher(preload=[ENTRIES, "numpy"]) as zygote, Launcher(zygote=False) as plain:
        call(zygote, "echo", b"x")
        forked, fresh = median(zygote), median(plain)
    with capsys.disabled():
        print(
            f"\n  a call takes {forked * 1e3:.0f} ms by zygote, {fresh * 1e3:.0f} ms plain: {fresh / forked:.1f} times"
        )
    assert forked < fresh


def test_watch_sees_a_dead_process(launcher):
    child = launch(launcher, "wait")
    watch = Watch([child.pid])
    child.kill()
    assert watch.wait_all_dead(PATIENCE_S) == []
    child.wait(PATIENCE_S)
    child.socket.close()
