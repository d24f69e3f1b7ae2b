import os
import select

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.engines.catalog import VariantSpec
from editx.processes.launcher import Launcher
from editx.worker.client import HOST_MODULE, WorkerFactory
from tests.processes.harness import PATIENCE_S, Log, nothing_left_behind

ENTRY = "tests.worker.engines:open_faulty"


@pytest.fixture
def log():
    return Log()


BOTH_WAYS = pytest.mark.parametrize("launcher", [True, False], ids=["zygote", "plain"], indirect=True)


@pytest.fixture
def launcher(request, log):
    """With a zygote, or as BOTH_WAYS says."""
    zygote = getattr(request, "param", True)
    with (
        nothing_left_behind(),
        Launcher(zygote=zygote, preload=[HOST_MODULE, "tests.worker.engines"], on_log=log) as launcher,
    ):
        yield launcher


@pytest.fixture
def factory(launcher):
    """Makes factories of faulty engines: factory(stall_timeout=…, **options)."""

    def make(
        *, launcher=launcher, stall_timeout=PATIENCE_S, grace=PATIENCE_S, limits=None, on_progress=None, **options
    ):
        spec = VariantSpec("faulty", "an engine with faults", ENTRY, options=options)
        return WorkerFactory(
            spec, launcher, stall_timeout=stall_timeout, grace=grace, limits=limits, on_progress=on_progress
        )

    return make


@pytest.fixture
def load(factory):
    """Loads a worker and closes it after the test."""
    models = []

    def make(**options):
        model = factory(**options)()
        models.append(model)
        return model

    yield make
    for model in models:
        model.close()


class Fifo:
    """A named pipe between a test and an engine, open on our side from the start so that nobody waits to open it."""

    def __init__(self, path):
        os.mkfifo(path)
        self.path = str(path)
        self._fd = os.open(path, os.O_RDWR | os.O_NONBLOCK)
        self._text = ""

    def write(self, data):
        os.write(self._fd, data)

    def expect(self, line):
        """Wait until the engine has written this line."""
        while f"{line}\n" not in self._text:
            assert select.select([self._fd], [], [], PATIENCE_S)[0], f"{line!r} never came, only {self._text!r}"
            self._text += os.read(self._fd, 4096).decode()
        self._text = self._text.replace(f"{line}\n", "", 1)

    def close(self):
        os.close(self._fd)


@pytest.fixture
def journal(tmp_path):
    fifo = Fifo(tmp_path / "journal")
    yield fifo
    fifo.close()


@pytest.fixture
def gate(tmp_path):
    fifo = Fifo(tmp_path / "gate")
    yield fifo
    fifo.close()


@pytest.fixture
def clip():
    """A second of noise with every awkward float in it."""
    samples = np.random.default_rng(7).standard_normal(24_000).astype(np.float32)
    samples[:5] = [0.0, -0.0, 1e-45, -1.0, np.nextafter(np.float32(1), np.float32(2))]
    return Clip(samples, 24_000)
