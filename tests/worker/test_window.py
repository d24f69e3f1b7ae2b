"""How a worker waits for a slow reader."""

import threading

import pytest

from editx.cancellation import Cancellation
from editx.errors import Cancelled
from editx.worker.window import Window
from tests.processes.harness import PATIENCE_S


def taking(window, size):
    """Take on a thread; returns the thread and the events "begun" and "taken", and the errors."""
    begun, taken, errors = threading.Event(), threading.Event(), []

    def take():
        begun.set()
        try:
            window.take(size)
            taken.set()
        except Cancelled as error:
            errors.append(error)

    thread = threading.Thread(target=take)
    thread.start()
    assert begun.wait(PATIENCE_S)
    return thread, taken, errors


def test_a_full_window_waits_for_credit():
    window = Window(Cancellation(), size=10)
    window.take(6)
    window.take(6)  # one piece may reach over the edge, so that no piece is too large for it
    thread, taken, _ = taking(window, 1)
    assert not taken.wait(0.05)
    window.give(2)
    assert not taken.wait(0.05)
    window.give(1)
    thread.join(PATIENCE_S)
    assert taken.is_set()


def test_cancelling_ends_the_wait():
    cancellation = Cancellation()
    window = Window(cancellation, size=1)
    window.take(1)
    thread, taken, errors = taking(window, 1)
    cancellation.cancel("enough")
    thread.join(PATIENCE_S)
    assert not taken.is_set()
    assert str(errors[0]) == "enough"
    with pytest.raises(Cancelled):
        window.take(1)
