"""The lifecycle contract of one model, line by line, with time and threads in the test's hands."""

from __future__ import annotations

import contextlib
import gc
import json
import math
import weakref
from collections.abc import Callable
from typing import Any

import pytest

from editx import LazyModelManager
from editx.errors import (
    BackingOff,
    Cancelled,
    EditXError,
    InvalidRequest,
    LoadFailed,
    ModelCrashed,
    ModelUnloaded,
    OutOfMemory,
    ShuttingDown,
    Stalled,
)
from editx.lifecycle import Event, Lease, Ticket
from tests.lifecycle.simulation import CancellableFactory, Factory, Jobs, KillableModel, ManualClock, Model


class Rig:
    """A manager with its clock, its jobs, and everything its observer was told."""

    def __init__(self, factory: Callable[[], Any] | None = None, **options: Any) -> None:
        self.factory = Factory() if factory is None else factory
        self.clock = ManualClock()
        self.jobs = Jobs()
        self.events: list[Event] = []
        options = {"idle_timeout": 10, "observer": self.events.append, **options}
        self.manager = LazyModelManager(self.factory, clock=self.clock, spawn=self.jobs, **options)

    def lease(self, keep_alive: float | None = None) -> Lease[Any]:
        """A lease, with everything run that it takes."""
        ticket = self.manager.request(keep_alive)
        self.jobs.run_all()
        return ticket.result(0)

    def use(self, keep_alive: float | None = None) -> None:
        self.lease(keep_alive).release()

    @property
    def state(self) -> str:
        return str(self.manager.get_status()["state"])

    @property
    def kinds(self) -> list[str]:
        return [event.kind for event in self.events]

    def status(self, key: str) -> Any:
        return self.manager.get_status()[key]


def failure(ticket: Ticket[Any]) -> EditXError:
    assert ticket.error is not None
    assert ticket.lease is None
    return ticket.error


# Loading.


def test_nothing_is_loaded_before_somebody_asks() -> None:
    rig = Rig()
    assert rig.state == "unloaded"
    assert not rig.manager.is_loaded()
    assert not rig.jobs.waiting
    assert rig.factory.calls == 0


def test_concurrent_first_callers_share_one_load() -> None:
    rig = Rig()
    tickets = [rig.manager.request() for _ in range(20)]
    assert rig.state == "loading"
    assert [ticket.position for ticket in tickets] == list(range(20))
    rig.jobs.run_all()
    assert rig.factory.calls == 1
    assert {ticket.result(0).model for ticket in tickets} == {rig.factory.made[0]}
    assert rig.status("leases") == 20
    assert tickets[3].position is None


def test_one_failure_reaches_all_and_the_next_request_tries_again() -> None:
    rig = Rig()
    rig.factory.failures.append(RuntimeError("no weights here"))
    tickets = [rig.manager.request() for _ in range(5)]
    rig.jobs.run_all()
    assert rig.factory.calls == 1
    for ticket in tickets:
        with pytest.raises(LoadFailed, match="RuntimeError: no weights here"):
            ticket.result(0)
    assert rig.state == "unloaded"
    assert "no weights here" in rig.status("last_error")
    rig.use()
    assert rig.factory.calls == 2
    assert rig.status("last_error") is None


def test_every_waiter_gets_its_own_copy_of_the_failure() -> None:
    rig = Rig()
    rig.factory.failures.append(OutOfMemory("12 GiB needed", retry_after_s=3.0))
    first, second = rig.manager.request(), rig.manager.request()
    rig.jobs.run_all()
    with pytest.raises(OutOfMemory) as one:
        first.result(0)
    with pytest.raises(OutOfMemory) as other:
        second.result(0)
    assert one.value is not other.value
    assert one.value.retry_after_s == 3.0
    assert one.value.message == other.value.message == "12 GiB needed"


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_whatever_the_factory_raises_answers_the_waiters(error: BaseException) -> None:
    rig = Rig()
    rig.factory.failures.append(error)
    ticket = rig.manager.request()
    rig.jobs.run_all()
    assert isinstance(failure(ticket), LoadFailed)
    assert rig.state == "unloaded"


def test_a_factory_that_runs_out_of_memory_says_so() -> None:
    rig = Rig()
    rig.factory.failures.append(MemoryError("cannot allocate"))
    ticket = rig.manager.request()
    rig.jobs.run_all()
    assert isinstance(failure(ticket), OutOfMemory)


def test_an_error_of_ours_reaches_the_waiter_as_it_is() -> None:
    rig = Rig()
    rig.factory.failures.append(InvalidRequest("no such dtype", param="dtype"))
    ticket = rig.manager.request()
    rig.jobs.run_all()
    with pytest.raises(InvalidRequest) as caught:
        ticket.result(0)
    assert caught.value.param == "dtype"


def test_a_hung_factory_fails_its_waiters_and_its_product_is_closed() -> None:
    rig = Rig(load_timeout=5)
    ticket = rig.manager.request()
    rig.clock.advance(4.9)
    assert not ticket.done
    rig.clock.advance(0.2)
    assert isinstance(failure(ticket), LoadFailed)
    assert "no sign of life" in str(ticket.error)
    rig.jobs.run_all()  # the factory returns after all
    assert rig.factory.made[0].closed == 1
    assert rig.state == "unloaded"
    assert rig.status("loads") == 0
    assert rig.status("unloads") == 0


def test_a_factory_that_hangs_for_good_is_abandoned_and_the_next_load_is_fresh() -> None:
    rig = Rig(load_timeout=5, close_timeout=2)
    rig.manager.request()
    hung = rig.jobs.waiting.pop()
    rig.clock.advance(5)
    later = rig.manager.request()
    assert rig.state == "unloading"
    rig.clock.advance(2)
    assert rig.state == "loading"
    rig.jobs.run_all()
    model = later.result(0).model
    hung()
    rig.jobs.run_all()
    assert rig.factory.made == [model, rig.factory.made[1]]
    assert [made.closed for made in rig.factory.made] == [0, 1]
    assert rig.manager.is_loaded()


def test_signs_of_life_extend_a_load_and_show_in_the_status() -> None:
    rig = Rig(load_timeout=5)
    ticket = rig.manager.request()
    for step in range(6):
        rig.clock.advance(4)
        rig.manager.sign_of_life("weights", step / 6)
    assert not ticket.done
    assert rig.status("load_stage") == "weights"
    assert rig.status("load_fraction") == 5 / 6
    assert rig.status("load_seconds") == 24
    assert rig.kinds.count("progress") == 6
    rig.clock.advance(5)
    assert "last seen: weights" in str(failure(ticket))
    assert rig.status("load_stage") is None


def test_a_load_that_stalls_is_cancelled_where_the_factory_can_do_that() -> None:
    factory = CancellableFactory()
    rig = Rig(factory, load_timeout=5)
    rig.manager.request()
    rig.clock.advance(5)
    rig.jobs.run_all()
    assert factory.cancelled == 1


def test_without_a_load_timeout_a_load_may_take_for_ever() -> None:
    rig = Rig()
    ticket = rig.manager.request()
    rig.clock.advance(1e6)
    assert not ticket.done


# The idle clock.


def test_the_idle_clock_starts_when_the_last_lease_is_released() -> None:
    rig = Rig()
    first, second = rig.lease(), rig.lease()
    rig.clock.advance(100)
    first.release()
    rig.clock.advance(100)
    assert rig.manager.is_loaded()
    assert rig.status("idle_time") == 0
    assert rig.status("time_until_unload") is None
    second.release()
    rig.clock.advance(9)
    assert rig.status("idle_time") == 9
    assert rig.status("time_until_unload") == 1
    rig.clock.advance(1)
    assert not rig.manager.is_loaded()
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert rig.factory.made[0].closed == 1


def test_the_idle_clock_does_not_run_during_a_load() -> None:
    rig = Rig()
    ticket = rig.manager.request()
    rig.clock.advance(100)
    rig.jobs.run_all()
    ticket.result(0).release()
    rig.clock.advance(9.9)
    assert rig.manager.is_loaded()


def test_get_model_restarts_the_clock_and_reading_the_status_does_not() -> None:
    rig = Rig()
    rig.use()
    rig.clock.advance(9)
    assert rig.manager.get_model() is rig.factory.made[0]
    rig.clock.advance(9)
    rig.manager.get_status()
    rig.manager.is_loaded()
    assert rig.manager.is_loaded()
    rig.clock.advance(1)
    assert not rig.manager.is_loaded()


def test_get_model_during_a_lease_leaves_the_lease_in_charge() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.manager.get_model()
    rig.clock.advance(100)
    assert rig.manager.is_loaded()
    lease.release()
    rig.clock.advance(10)
    assert not rig.manager.is_loaded()


@pytest.mark.parametrize("keep_alive", [0, 3])
def test_get_model_during_a_lease_is_not_cut_short_by_its_keep_alive(keep_alive: float) -> None:
    rig = Rig()
    lease, other = rig.lease(keep_alive), rig.lease(keep_alive)
    rig.manager.get_model()
    rig.clock.advance(6)
    other.release()
    lease.release()
    rig.clock.advance(3.9)
    assert rig.manager.is_loaded()
    rig.clock.advance(0.1)
    assert not rig.manager.is_loaded()
    rig.jobs.run_all()
    late = rig.lease(keep_alive=0)
    rig.manager.get_model()
    rig.clock.advance(10)
    late.release()
    assert not rig.manager.is_loaded(), "what was borrowed has had its time"
    rig.jobs.run_all()
    rig.manager.force_unload()
    rig.use(keep_alive=0)
    assert not rig.manager.is_loaded(), "a borrow is of one instance"


def test_moving_the_deadline_does_not_arm_a_timer_each_time() -> None:
    rig = Rig()
    for _ in range(1000):
        rig.use()
        rig.clock.advance(0.001)
    assert rig.clock.armed == 1


@pytest.mark.parametrize("times", [1, 2])
def test_an_expiry_that_comes_early_or_twice_changes_nothing(times: int) -> None:
    rig = Rig()
    rig.use()
    rig.clock.advance(5)
    rig.clock.fire_early(times)
    assert rig.manager.is_loaded()
    rig.clock.advance(4.9)
    assert rig.manager.is_loaded()
    rig.clock.advance(0.1)
    assert not rig.manager.is_loaded()
    rig.clock.fire_early(times)
    rig.jobs.run_all()
    assert rig.factory.made[0].closed == 1
    assert rig.status("unloads") == 1


def test_an_expiry_during_a_lease_changes_nothing() -> None:
    rig = Rig()
    rig.use()
    lease = rig.lease()
    rig.clock.advance(50)
    assert rig.manager.is_loaded()
    lease.release()
    rig.clock.advance(10)
    assert not rig.manager.is_loaded()


@pytest.mark.parametrize(
    "options",
    [{"idle_timeout": None}, {"idle_timeout": -1}, {"idle_timeout": math.inf}, {"auto_unload": False}],
)
def test_a_model_may_be_kept_for_ever(options: dict[str, Any]) -> None:
    rig = Rig(**options)
    rig.use()
    rig.manager.get_model()
    rig.clock.advance(1e9)
    assert rig.manager.is_loaded()
    assert rig.status("time_until_unload") is None
    assert rig.status("idle_time") == 1e9
    assert rig.manager.force_unload(timeout=0) is False
    rig.jobs.run_all()
    assert rig.state == "unloaded"


def test_an_idle_timeout_of_zero_unloads_on_release() -> None:
    rig = Rig(idle_timeout=0)
    first, second = rig.lease(), rig.lease()
    first.release()
    assert rig.manager.is_loaded()
    second.release()
    assert rig.state == "unloading"


def test_an_idle_timeout_of_zero_leaves_get_model_a_second() -> None:
    rig = Rig(idle_timeout=0)
    lease = rig.lease()
    rig.manager.get_model()
    lease.release()
    assert rig.manager.is_loaded()
    rig.clock.advance(1)
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    ticket = rig.manager.request()
    ticket.cancel()
    rig.jobs.run_all()
    rig.manager.get_model()
    rig.clock.advance(0.9)
    assert rig.manager.is_loaded()
    rig.clock.advance(0.1)
    assert not rig.manager.is_loaded()


# keep_alive.


def test_keep_alive_of_zero_unloads_on_release() -> None:
    rig = Rig()
    rig.use(keep_alive=0)
    assert rig.state == "unloading"


def test_keep_alive_may_shorten_and_lengthen_the_timeout() -> None:
    rig = Rig()
    rig.use(keep_alive=3)
    rig.clock.advance(3)
    assert rig.state == "unloading"
    rig.jobs.run_all()
    rig.use(keep_alive=60)
    rig.clock.advance(59)
    assert rig.manager.is_loaded()
    rig.clock.advance(1)
    assert not rig.manager.is_loaded()


def test_a_negative_keep_alive_keeps_the_model() -> None:
    rig = Rig()
    rig.use(keep_alive=-1)
    rig.clock.advance(1e6)
    assert rig.manager.is_loaded()


def test_the_most_recently_released_use_decides() -> None:
    rig = Rig()
    short, forever = rig.lease(keep_alive=1), rig.lease(keep_alive=-1)
    forever.release()
    short.release()
    rig.clock.advance(1)
    assert not rig.manager.is_loaded()
    rig.jobs.run_all()
    short, forever = rig.lease(keep_alive=1), rig.lease(keep_alive=-1)
    short.release()
    forever.release()
    rig.clock.advance(1e6)
    assert rig.manager.is_loaded()
    rig.use()
    rig.clock.advance(10)
    assert not rig.manager.is_loaded()


def test_an_explicit_keep_alive_works_without_auto_unload_too() -> None:
    rig = Rig(auto_unload=False)
    rig.use(keep_alive=5)
    rig.clock.advance(5)
    assert not rig.manager.is_loaded()


# Unloading.


def test_force_unload_lets_leases_drain_and_later_callers_get_a_fresh_load() -> None:
    rig = Rig()
    lease = rig.lease()
    assert rig.manager.force_unload(timeout=0) is False
    assert rig.state == "unloading"
    assert lease.model is rig.factory.made[0]
    later = rig.manager.request()
    rig.clock.advance(29)
    rig.jobs.run_all()
    assert not later.done
    assert rig.factory.made[0].closed == 0
    lease.release()
    rig.jobs.run_all()
    assert rig.factory.made[0].closed == 1
    assert later.result(0).model is rig.factory.made[1]
    assert not lease.revoked


def test_an_unload_waits_for_the_last_of_several_leases_even_when_others_queue() -> None:
    rig = Rig()
    first, second = rig.lease(), rig.lease()
    rig.manager.force_unload(timeout=0)
    later = rig.manager.request()
    first.release()
    rig.jobs.run_all()
    assert not second.revoked
    assert rig.factory.made[0].closed == 0
    second.release()
    rig.jobs.run_all()
    assert later.result(0).generation == 2


def test_leases_that_do_not_drain_are_revoked_at_the_deadline() -> None:
    rig = Rig(drain_timeout=7)
    lease = rig.lease()
    rig.manager.force_unload(timeout=0)
    rig.clock.advance(6.9)
    assert not lease.revoked
    rig.clock.advance(0.1)
    assert lease.revoked
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert rig.factory.made[0].closed == 1
    with pytest.raises(ModelUnloaded, match="7 s to end"):
        _ = lease.model


def test_unload_now_does_not_wait_and_the_loser_is_told() -> None:
    rig = Rig()
    lease = rig.lease()

    def body() -> None:
        with lease as model:
            rig.manager.force_unload(now=True, timeout=0)
            rig.jobs.run_all()
            assert model.closed == 1
            assert lease.revoked
            raise OSError("the pipe is gone")

    with pytest.raises(ModelUnloaded) as caught:
        body()
    assert isinstance(caught.value.__cause__, OSError)
    assert rig.status("leases") == 0
    assert rig.state == "unloaded"


def test_a_body_that_ends_well_in_spite_of_the_unload_is_left_alone() -> None:
    rig = Rig()
    with rig.lease():
        rig.manager.force_unload(now=True, timeout=0)
        rig.jobs.run_all()
    assert rig.state == "unloaded"


@pytest.mark.parametrize("error", [Cancelled("the client left"), KeyboardInterrupt()])
def test_whoever_stops_a_revoked_use_itself_hears_of_nothing_else(error: BaseException) -> None:
    rig = Rig()

    def body() -> None:
        with rig.lease():
            rig.manager.force_unload(now=True, timeout=0)
            raise error

    with pytest.raises(type(error)):
        body()


def test_an_error_in_the_body_of_a_lease_that_was_not_revoked_is_untouched() -> None:
    rig = Rig()
    with pytest.raises(ZeroDivisionError), rig.lease():
        raise ZeroDivisionError
    assert rig.status("leases") == 0
    assert rig.manager.is_loaded()


def test_unload_now_overtakes_an_unload_that_drains() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.manager.force_unload(timeout=0)
    rig.manager.force_unload(timeout=0)
    rig.manager.force_unload(now=True, timeout=0)
    rig.manager.force_unload(now=True, timeout=0)
    assert lease.revoked
    rig.jobs.run_all()
    assert rig.factory.made[0].closed == 1
    assert rig.status("unloads") == 1


def test_force_unload_of_nothing_is_done_at_once() -> None:
    rig = Rig()
    assert rig.manager.force_unload() is True
    assert rig.manager.force_unload(now=True) is True
    assert rig.events == []


def test_force_unload_gives_up_a_load_and_whoever_waited_is_told() -> None:
    factory = CancellableFactory()
    rig = Rig(factory)
    ticket = rig.manager.request()
    rig.manager.force_unload(timeout=0)
    assert isinstance(failure(ticket), ModelUnloaded)
    later = rig.manager.request()
    rig.jobs.run_all()
    assert factory.cancelled == 1
    assert factory.made[0].closed == 1
    assert later.result(0).model is factory.made[1]


def test_a_load_that_was_given_up_and_fails_is_over() -> None:
    rig = Rig()
    rig.factory.failures.append(RuntimeError("cancelled"))
    rig.manager.request()
    rig.manager.force_unload(timeout=0)
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    rig.use()
    assert rig.manager.is_loaded()


def test_a_hung_close_is_abandoned() -> None:
    rig = Rig(close_timeout=4)
    rig.use(keep_alive=0)
    hung = rig.jobs.waiting.pop()
    later = rig.manager.request()
    rig.clock.advance(3.9)
    assert rig.state == "unloading"
    rig.clock.advance(0.1)
    assert "abandoned" in rig.status("last_error")
    rig.jobs.run_all()
    lease = later.result(0)
    hung()
    assert lease.model is rig.factory.made[1]
    assert rig.factory.made[1].closed == 0
    assert rig.manager.is_loaded()


def test_a_hung_close_is_ended_by_kill_where_there_is_one() -> None:
    rig = Rig(Factory(KillableModel), close_timeout=4)
    rig.use(keep_alive=0)
    hung = rig.jobs.waiting.pop()
    rig.clock.advance(4)
    assert rig.state == "unloading"
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert rig.factory.made[0].killed == 1
    hung()
    assert rig.status("unloads") == 1


def test_a_kill_that_hangs_too_is_abandoned() -> None:
    rig = Rig(Factory(KillableModel), close_timeout=4)
    rig.use(keep_alive=0)
    rig.clock.advance(4)
    assert len(rig.jobs.waiting) == 2
    assert rig.state == "unloading"
    rig.clock.advance(4)
    assert rig.state == "unloaded"
    assert rig.clock.armed == 0


def test_a_close_that_raises_is_a_close() -> None:
    rig = Rig()
    lease = rig.lease(keep_alive=0)
    lease.model.close_error = OSError("already gone")
    lease.release()
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert "already gone" in rig.status("last_error")
    rig.use()


def test_release_is_idempotent_and_a_spent_lease_has_no_model() -> None:
    rig = Rig()
    first, second = rig.lease(), rig.lease()
    first.release()
    first.release()
    assert rig.status("leases") == 1
    assert not first.revoked
    with pytest.raises(ModelUnloaded, match="given back already"):
        _ = first.model
    second.release()
    assert rig.status("leases") == 0


def test_nothing_refers_to_the_model_once_it_is_unloaded() -> None:
    rig = Rig(object_with_weakrefs)
    lease = rig.lease()
    gone = weakref.ref(lease.model)
    rig.manager.force_unload(now=True, timeout=0)
    gc.disable()
    try:
        rig.jobs.run_all()
        assert gone() is None
    finally:
        gc.enable()


class Plain:
    pass


def object_with_weakrefs() -> Plain:
    return Plain()


@pytest.mark.parametrize("thing", [7, "weights", None, object(), [1, 2]])
def test_any_object_is_a_model(thing: object) -> None:
    rig = Rig(lambda: thing)
    with rig.lease() as model:
        assert model is thing
    assert rig.manager.get_model() is thing
    rig.manager.force_unload(timeout=0)
    rig.jobs.run_all()
    assert not rig.manager.is_loaded()


# Waiting, and giving up.


def test_a_waiter_that_gives_up_takes_nothing_with_it() -> None:
    rig = Rig()
    quitter, stayer = rig.manager.request(), rig.manager.request()
    assert quitter.cancel()
    assert not quitter.cancel()
    with pytest.raises(Cancelled):
        quitter.result(0)
    rig.jobs.run_all()
    assert stayer.result(0).held
    assert rig.status("leases") == 1
    assert rig.factory.calls == 1


def test_a_load_nobody_waits_for_any_more_goes_on_and_its_model_idles() -> None:
    rig = Rig()
    rig.manager.request().cancel()
    rig.jobs.run_all()
    assert rig.manager.is_loaded()
    assert rig.status("leases") == 0
    rig.clock.advance(10)
    assert not rig.manager.is_loaded()


def test_giving_up_a_granted_ticket_gives_the_lease_back() -> None:
    rig = Rig()
    ticket = rig.manager.request(keep_alive=-1)
    rig.jobs.run_all()
    assert ticket.cancel()
    assert rig.status("leases") == 0
    rig.clock.advance(10)
    assert not rig.manager.is_loaded()


def test_waiting_times_out_without_leaving_the_queue_unless_leased() -> None:
    rig = Rig()
    ticket = rig.manager.request()
    with pytest.raises(TimeoutError, match="within 0 s"):
        ticket.result(0)
    with pytest.raises(TimeoutError):
        rig.manager.lease(timeout=0)
    assert rig.status("queued") == 1
    rig.jobs.run_all()
    assert ticket.result(0).held
    assert rig.status("leases") == 1


def test_callbacks_are_called_once_with_the_answer() -> None:
    rig = Rig()
    answers: list[tuple[str, Ticket[Any]]] = []
    ticket = rig.manager.request()
    ticket.add_done_callback(lambda done: answers.append(("before", done)))
    assert answers == []
    rig.jobs.run_all()
    ticket.add_done_callback(lambda done: answers.append(("after", done)))
    assert answers == [("before", ticket), ("after", ticket)]


def test_a_callback_that_raises_is_logged_and_hurts_nobody(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig()
    seen: list[bool] = []
    ticket = rig.manager.request()
    ticket.add_done_callback(lambda done: 1 / 0)
    ticket.add_done_callback(lambda done: seen.append(done.lease is not None))
    rig.jobs.run_all()
    assert seen == [True]
    assert "ZeroDivisionError" in caplog.text


# Death.


def test_a_model_that_dies_is_gone_its_leases_know_and_the_next_request_loads() -> None:
    rig = Rig()
    lease = rig.lease()
    model = lease.model

    def body() -> None:
        with lease:
            model.die(ModelCrashed("worker 77 got signal 9"))
            assert lease.revoked
            assert not rig.manager.is_loaded()
            raise BrokenPipeError

    with pytest.raises(ModelCrashed, match="signal 9"):
        body()
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert rig.status("last_error") == "worker 77 got signal 9"
    assert rig.status("crashes") == 1
    assert model.closed == 1
    assert rig.lease().model is rig.factory.made[1]


def test_a_lease_of_the_dead_does_not_touch_the_next_generation() -> None:
    rig = Rig()
    old = rig.lease(keep_alive=0)
    rig.factory.made[0].die(ModelCrashed("gone"))
    rig.jobs.run_all()
    new = rig.lease()
    old.release()
    assert rig.manager.is_loaded()
    assert rig.status("leases") == 1
    assert (old.generation, new.generation) == (1, 2)
    rig.factory.made[0].die(ModelCrashed("again"))
    assert rig.manager.is_loaded()
    assert not new.revoked
    assert rig.status("crashes") == 1


def test_a_model_that_dies_while_it_is_being_closed_has_not_crashed() -> None:
    rig = Rig()
    rig.use(keep_alive=0)
    rig.factory.made[0].die(ModelCrashed("exit 0"))
    rig.jobs.run_all()
    assert rig.status("crashes") == 0
    assert rig.status("last_error") is None


def test_a_model_that_dies_while_it_drains_frees_the_unload() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.manager.force_unload(timeout=0)
    rig.factory.made[0].die(ModelCrashed("gone"))
    rig.jobs.run_all()
    assert lease.revoked
    assert rig.state == "unloaded"
    assert rig.status("crashes") == 1


def test_a_model_that_is_dead_on_arrival_is_a_failed_load() -> None:
    class StillBorn(Model):
        born_dead = True

        def watch(self, callback: Callable[[BaseException], None]) -> None:
            if StillBorn.born_dead:
                callback(ModelCrashed("died while loading"))

    rig = Rig(Factory(StillBorn))
    ticket = rig.manager.request()
    rig.manager.sign_of_life("weights", 0.9)
    rig.jobs.run_all()
    assert isinstance(failure(ticket), ModelCrashed)
    assert rig.state == "unloaded"
    assert rig.factory.made[0].closed == 1
    assert rig.status("crashes") == 1
    StillBorn.born_dead = False
    again = rig.manager.request()
    assert rig.status("load_stage") is None
    assert rig.status("load_fraction") is None
    rig.jobs.run_all()
    assert again.result(0).held


def test_a_model_whose_watch_raises_is_a_failed_load() -> None:
    class Unwatchable(Model):
        def watch(self, callback: Callable[[BaseException], None]) -> None:
            raise OSError("no such process")

    rig = Rig(Factory(Unwatchable))
    ticket = rig.manager.request()
    rig.jobs.run_all()
    assert isinstance(failure(ticket), LoadFailed)
    assert rig.factory.made[0].closed == 1


def test_a_death_without_a_proper_error_is_a_crash() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.factory.made[0].die(OSError("broken pipe"))
    assert isinstance(lease.error, ModelCrashed)
    assert "broken pipe" in str(lease.error)


def crash(rig: Rig) -> None:
    """Let the model die once, at whatever time it may be loaded."""
    while rig.status("retry_in"):
        rig.clock.advance(rig.status("retry_in"))
    ticket = rig.manager.request()
    rig.jobs.run_all()
    assert ticket.result(0).held
    rig.factory.made[-1].die(ModelCrashed("bang"))
    rig.jobs.run_all()


def test_repeated_crashes_back_off_and_the_status_says_so() -> None:
    rig = Rig()
    waits = []
    for _ in range(8):
        crash(rig)
        waits.append(rig.status("retry_in") or 0.0)
    assert waits == [0, 1, 1, 2, 3, 5, 8, 13]
    assert rig.status("crashes") == 8
    with pytest.raises(BackingOff, match="crashed 8 times in a row and is tried again in 13 s") as caught:
        rig.manager.request()
    assert caught.value.retry_after_s == 13
    assert "bang" in caught.value.message


def test_a_short_backoff_is_waited_out() -> None:
    rig = Rig()
    crash(rig)
    crash(rig)
    ticket = rig.manager.request()
    assert rig.state == "unloaded"
    assert not rig.jobs.waiting
    rig.clock.advance(0.9)
    assert not rig.jobs.waiting
    rig.clock.advance(0.1)
    rig.jobs.run_all()
    assert ticket.result(0).held


def test_a_good_use_forgets_the_crashes_and_an_unused_load_does_not() -> None:
    rig = Rig()
    for _ in range(3):
        crash(rig)
    rig.clock.advance(1)
    ticket = rig.manager.request()
    rig.jobs.run_all()
    ticket.cancel()
    rig.manager.get_model()
    assert rig.status("crashes") == 3
    rig.use()
    assert rig.status("crashes") == 0
    crash(rig)
    assert rig.status("retry_in") is None


def test_a_use_that_raises_proves_nothing() -> None:
    rig = Rig()
    crash(rig)
    crash(rig)
    rig.clock.advance(1)
    for error in (RuntimeError("bad"), Stalled("no sign of life"), Cancelled("enough")):
        with pytest.raises(type(error)), rig.lease():
            raise error
        assert rig.status("crashes") == 2
    with rig.lease():
        pass
    assert rig.status("crashes") == 0


def test_a_stall_stays_a_stall_when_the_model_is_lost_by_it() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.factory.made[0].die(ModelCrashed("killed"))
    assert lease.revoked
    with pytest.raises(Stalled):
        stall(lease)
    assert rig.status("crashes") == 1


def stall(lease: Lease[Any]) -> None:
    with contextlib.ExitStack() as stack:
        stack.push(lease.__exit__)
        raise Stalled("no sign of life")


def test_a_crash_while_loading_counts_and_any_other_failure_does_not() -> None:
    rig = Rig()
    rig.factory.failures += [ModelCrashed("exit 1"), ModelCrashed("exit 1"), RuntimeError("bad weights")]
    for _ in range(2):
        rig.manager.request()
        rig.jobs.run_all()
    assert rig.status("crashes") == 2
    rig.clock.advance(1)
    rig.manager.request()
    rig.jobs.run_all()
    assert rig.status("crashes") == 2


# Shutting down.


def test_shutdown_closes_the_model_and_takes_no_more_requests() -> None:
    rig = Rig()
    rig.use()
    assert rig.manager.shutdown(timeout=0) is False
    rig.jobs.run_all()
    assert rig.manager.shutdown() is True
    assert rig.manager.shutdown() is True
    assert rig.factory.made[0].closed == 1
    assert rig.clock.armed == 0
    for ask in (rig.manager.get_model, rig.manager.lease, rig.manager.request):
        with pytest.raises(ShuttingDown):
            ask()


def test_shutdown_answers_everybody() -> None:
    rig = Rig()
    lease = rig.lease()
    rig.manager.force_unload(timeout=0)
    waiter = rig.manager.request()
    rig.manager.shutdown(timeout=0)
    assert isinstance(failure(waiter), ShuttingDown)
    assert isinstance(lease.error, ShuttingDown)
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert rig.factory.calls == 1


def test_shutdown_during_a_load_cancels_it_and_closes_what_comes_of_it() -> None:
    factory = CancellableFactory()
    rig = Rig(factory)
    ticket = rig.manager.request()
    rig.manager.shutdown(timeout=0)
    assert isinstance(failure(ticket), ShuttingDown)
    rig.jobs.run_all()
    assert factory.cancelled == 1
    assert factory.made[0].closed == 1
    assert rig.manager.shutdown() is True


def test_shutdown_with_a_backoff_pending_leaves_no_timer() -> None:
    rig = Rig()
    crash(rig)
    crash(rig)
    ticket = rig.manager.request()
    rig.manager.shutdown(timeout=0)
    assert isinstance(failure(ticket), ShuttingDown)
    assert rig.clock.armed == 0


# What is told.


def test_the_observer_is_told_of_every_transition_in_order() -> None:
    rig = Rig()
    ticket = rig.manager.request()
    rig.clock.advance(2)
    rig.jobs.run_all()
    rig.clock.advance(3)
    ticket.result(0).release()
    rig.clock.advance(10)
    rig.jobs.run_all()
    assert rig.kinds == ["loading", "ready", "lease", "release", "unloading", "unloaded"]
    by_kind = {event.kind: event for event in rig.events}
    assert by_kind["ready"].seconds == 2
    assert by_kind["lease"].seconds == 2
    assert by_kind["lease"].leases == 1
    assert by_kind["release"].seconds == 3
    assert by_kind["release"].leases == 0
    assert by_kind["unloaded"].reason == "idle"
    assert {event.name for event in rig.events} == {"model"}
    assert {event.generation for event in rig.events} == {1}
    assert [event.time for event in rig.events] == [1000, 1002, 1002, 1005, 1015, 1015]


def test_the_observer_hears_why() -> None:
    rig = Rig()
    rig.factory.failures.append(RuntimeError("no"))
    rig.manager.request()
    rig.jobs.run_all()
    rig.lease()
    rig.manager.force_unload(now=True, timeout=0)
    rig.jobs.run_all()
    rig.lease()
    rig.factory.made[-1].die(ModelCrashed("bang"))
    rig.jobs.run_all()
    rig.lease()
    rig.manager.shutdown(timeout=0)
    rig.jobs.run_all()
    assert [event.reason for event in rig.events if event.kind == "unloaded"] == ["forced", "crash", "shutdown"]
    assert [event.error for event in rig.events if event.kind == "crashed"] == ["bang"]
    assert "RuntimeError: no" in str(next(event.error for event in rig.events if event.kind == "load_failed"))
    assert rig.kinds.count("revoked") == 3


def test_an_observer_that_raises_is_logged_and_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def observer(event: Event) -> None:
        raise ValueError(event.kind)

    rig = Rig(observer=observer)
    rig.use(keep_alive=0)
    rig.jobs.run_all()
    assert rig.state == "unloaded"
    assert caplog.text.count("the observer raised") == 6


def test_an_observer_may_use_the_manager() -> None:
    seen: list[Any] = []

    def observer(event: Event) -> None:
        seen.append((event.kind, rig.manager.get_status()["state"]))
        if event.kind == "ready":
            rig.manager.force_unload(timeout=0)

    rig = Rig(observer=observer)
    rig.manager.request().cancel()
    rig.jobs.run_all()
    assert [kind for kind, _ in seen] == ["loading", "ready", "unloading", "unloaded"]
    assert rig.state == "unloaded"


def test_the_status_is_plain_data() -> None:
    rig = Rig()
    for _ in range(2):
        status = rig.manager.get_status()
        assert json.loads(json.dumps(status)) == status
        rig.use()
    assert {
        "loaded", "state", "auto_unload", "idle_timeout", "idle_time", "time_until_unload", "leases", "queued", "loads",
        "unloads", "last_load_seconds", "last_error", "load_stage", "load_fraction", "crashes", "retry_in",
    } <= set(status)  # fmt: skip


def test_work_is_done_in_the_asking_thread_when_no_thread_can_be_had(caplog: pytest.LogCaptureFixture) -> None:
    def exhausted(job: Callable[[], None]) -> None:
        raise RuntimeError("can't start new thread")

    rig = Rig()
    manager = LazyModelManager(rig.factory, spawn=exhausted, clock=rig.clock)
    with manager.lease() as model:
        assert model is rig.factory.made[0]
    assert manager.shutdown()
    assert model.closed == 1
    assert "no thread could be started" in caplog.text


@pytest.mark.parametrize(
    ("options", "param"),
    [
        ({"model_factory": None}, "model_factory"),
        ({"idle_timeout": "5m"}, "idle_timeout"),
        ({"idle_timeout": math.nan}, "idle_timeout"),
        ({"idle_timeout": True}, "idle_timeout"),
        ({"auto_unload": "yes"}, "auto_unload"),
        ({"load_timeout": 0}, "load_timeout"),
        ({"load_timeout": -1}, "load_timeout"),
        ({"drain_timeout": math.inf}, "drain_timeout"),
        ({"drain_timeout": -1}, "drain_timeout"),
        ({"close_timeout": None}, "close_timeout"),
    ],
)
def test_arguments_that_make_no_sense_are_refused(options: dict[str, Any], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        LazyModelManager(**{"model_factory": object, **options})
    assert caught.value.param == param
    assert param in caught.value.message


@pytest.mark.parametrize("keep_alive", ["5m", math.nan, False])
def test_a_keep_alive_that_makes_no_sense_is_refused(keep_alive: Any) -> None:
    rig = Rig()
    for ask in (rig.manager.lease, rig.manager.request):
        with pytest.raises(InvalidRequest) as caught:
            ask(keep_alive)
        assert caught.value.param == "keep_alive"
    assert rig.factory.calls == 0
