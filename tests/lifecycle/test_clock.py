"""The real clock: it makes calls in time, and has a thread only while it has to."""

from __future__ import annotations

import threading
import time

import pytest

from editx.lifecycle.clock import Alarm, MonotonicClock
from editx.lifecycle.monitor import Monitor
from editx.lifecycle.threads import Threads
from tests.lifecycle.simulation import ManualClock


def named(name: str) -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == name]


def test_calls_are_made_in_order_and_not_before_their_time() -> None:
    clock = MonotonicClock("test-order")
    done = threading.Event()
    made: list[tuple[int, float]] = []
    start = clock.now()
    clock.call_at(start + 0.10, lambda: (made.append((3, clock.now())), done.set()))
    clock.call_at(start + 0.05, lambda: made.append((2, clock.now())))
    clock.call_at(start - 1, lambda: made.append((1, clock.now())))
    assert done.wait(10)
    assert [number for number, _ in made] == [1, 2, 3]
    for (_, at), due in zip(made, (0, 0.05, 0.10), strict=True):
        assert at >= start + due


def test_there_is_a_thread_only_while_timers_are_armed() -> None:
    clock = MonotonicClock("test-thread")
    assert not named("test-thread")
    first, second = clock.call_at(clock.now() + 60, done_never), clock.call_at(clock.now() + 90, done_never)
    assert len(named("test-thread")) == 1
    second.cancel()
    first.cancel()
    first.cancel()
    assert clock.join(10)
    assert not named("test-thread")
    rung = threading.Event()
    clock.call_at(clock.now(), rung.set)
    assert rung.wait(10)
    assert clock.join(10)
    assert not named("test-thread")


def done_never() -> None:
    raise AssertionError("a cancelled call was made")


def test_joining_while_a_timer_is_armed_gives_up() -> None:
    clock = MonotonicClock()
    timer = clock.call_at(clock.now() + 60, done_never)
    assert clock.join(0.01) is False
    timer.cancel()
    assert clock.join(10) is True


def test_a_call_that_raises_does_not_end_the_clock(caplog: pytest.LogCaptureFixture) -> None:
    clock = MonotonicClock()
    rung = threading.Event()
    clock.call_at(clock.now(), lambda: [][0])
    clock.call_at(clock.now() + 0.01, rung.set)
    assert rung.wait(10)
    assert "IndexError" in caplog.text


def test_a_moment_beyond_what_a_wait_can_take_is_fine() -> None:
    clock = MonotonicClock()
    timer = clock.call_at(clock.now() + 1e12, done_never)
    rung = threading.Event()
    clock.call_at(clock.now(), rung.set)
    assert rung.wait(10)
    timer.cancel()
    assert clock.join(10)


def test_a_timer_may_be_armed_from_a_timer() -> None:
    clock = MonotonicClock()
    rung = threading.Event()
    clock.call_at(clock.now(), lambda: clock.call_at(clock.now(), rung.set))
    assert rung.wait(10)
    assert clock.join(10)


def test_an_alarm_moves_without_touching_the_clock_unless_it_comes_sooner() -> None:
    clock, monitor, rings = ManualClock(), Monitor(), []
    alarm = Alarm(clock, monitor, lambda: rings.append(clock.now()))
    with monitor:
        alarm.set(1010)
        alarm.set(1020)
        alarm.set(1030)
    assert clock.armed == 1
    clock.advance(25)
    assert rings == []
    with monitor:
        alarm.set(1026)
    clock.advance(1)
    assert rings == [1026]
    clock.advance(100)
    assert rings == [1026]
    assert clock.armed == 0


def test_an_alarm_without_a_due_time_lets_its_timer_find_that_out() -> None:
    clock, monitor, rings = ManualClock(), Monitor(), []
    alarm = Alarm(clock, monitor, lambda: rings.append(clock.now()))
    with monitor:
        alarm.set(1010)
        alarm.due = None
    clock.advance(60)
    assert rings == []
    assert clock.armed == 0
    with monitor:
        alarm.set(1070)
        alarm.cancel()
    clock.advance(60)
    assert rings == []


def test_threads_are_joined_and_a_hung_one_is_reported() -> None:
    threads = Threads("test-jobs")
    go = threading.Event()
    threads(go.wait)
    assert threads.join(0.01) is False
    go.set()
    assert threads.join(10) is True
    assert not named("test-jobs")


def test_a_job_may_join_the_threads_it_is_one_of() -> None:
    threads = Threads("test-self")
    answer: list[bool] = []
    threads(lambda: answer.append(threads.join(10)))
    assert threads.join(10)
    assert answer == [True]


def test_the_monitor_runs_every_effect_even_when_one_is_interrupted() -> None:
    monitor = Monitor()
    ran: list[int] = []

    def interrupted() -> None:
        raise KeyboardInterrupt

    def act() -> None:
        with monitor:
            monitor.after(lambda: ran.append(1))
            monitor.after(interrupted)
            monitor.after(lambda: ran.append(2))

    with pytest.raises(KeyboardInterrupt):
        act()
    assert ran == [1, 2]


def test_effects_run_without_the_lock() -> None:
    monitor = Monitor()
    entered = threading.Event()

    def other() -> None:
        with monitor:
            entered.set()

    def effect() -> None:
        thread = threading.Thread(target=other)
        thread.start()
        assert entered.wait(10)
        thread.join()

    with monitor, monitor:
        monitor.after(effect)
        assert not entered.is_set()
    assert entered.is_set()


def test_the_clock_is_monotonic_time() -> None:
    before = time.monotonic()
    assert before <= MonotonicClock().now() <= time.monotonic()
