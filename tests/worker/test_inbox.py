"""The queue between the reading thread and a request."""

import threading

import pytest

from editx.engines.base import Memory, Progress
from editx.errors import Cancelled, ModelCrashed
from editx.worker import wire
from editx.worker.inbox import Inbox
from tests.processes.harness import PATIENCE_S

DONE = wire.Done(1, {}, Memory())


def report(stage, fraction=None):
    return wire.Report(1, Progress(stage, fraction))


def test_frames_come_out_in_order():
    inbox = Inbox()
    frames = [report("preprocessing"), report("generation"), DONE]
    for frame in frames:
        inbox.put(frame)
    assert [inbox.get(PATIENCE_S) for _ in frames] == frames


def test_of_reports_on_one_stage_the_last_is_kept():
    inbox = Inbox()
    for frame in (report("generation", 0.1), report("generation", 0.2), report("decoding", 0.3), DONE):
        inbox.put(frame)
    assert [inbox.get(PATIENCE_S) for _ in range(3)] == [report("generation", 0.2), report("decoding", 0.3), DONE]


def test_nothing_for_too_long_is_a_timeout():
    with pytest.raises(TimeoutError):
        Inbox().get(0.01)


def test_an_error_wakes_the_reader_and_goes_before_what_waits():
    inbox = Inbox()
    threading.Timer(0.01, inbox.fail, [ModelCrashed("gone")]).start()
    with pytest.raises(ModelCrashed, match="gone"):
        inbox.get(PATIENCE_S)
    inbox.put(report("generation"))
    inbox.fail(Cancelled("later"))
    with pytest.raises(ModelCrashed, match="gone"):
        inbox.get(PATIENCE_S)


def test_a_request_that_is_complete_cannot_fail_any_more():
    inbox = Inbox()
    inbox.put(report("generation"))
    inbox.put(DONE)
    inbox.fail(ModelCrashed("too late to matter"))
    assert inbox.get(PATIENCE_S) == report("generation")
    assert inbox.get(PATIENCE_S) == DONE
