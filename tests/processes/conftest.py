import pytest

from editx.processes.launcher import Launcher
from tests.processes.harness import Log, nothing_left_behind


@pytest.fixture
def log():
    return Log()


@pytest.fixture(params=[True, False], ids=["zygote", "plain"])
def launcher(request, log):
    with nothing_left_behind(), Launcher(zygote=request.param, on_log=log) as launcher:
        assert launcher.uses_zygote is request.param
        yield launcher


@pytest.fixture
def zygote(log):
    """A launcher that forks."""
    with nothing_left_behind(), Launcher(preload=["tests.processes.entries", "no_such_module"], on_log=log) as launcher:
        yield launcher
