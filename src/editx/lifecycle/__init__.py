"""Models that come when called and leave when idle: plain Python, usable on its own."""

from editx.lifecycle.clock import Clock, MonotonicClock
from editx.lifecycle.events import Event, Observer
from editx.lifecycle.manager import LazyModelManager
from editx.lifecycle.pool import ModelPool, PoolVariant
from editx.lifecycle.states import State, Status
from editx.lifecycle.ticket import Lease, Ticket

__all__ = [
    "Clock",
    "Event",
    "LazyModelManager",
    "Lease",
    "ModelPool",
    "MonotonicClock",
    "Observer",
    "PoolVariant",
    "State",
    "Status",
    "Ticket",
]
