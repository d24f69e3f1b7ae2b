"""A server that asks for a key."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.running import RunningServer, running_server


@pytest.fixture(scope="session")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("guarded"), env={"EDITX_API_KEY": "first-key second-key"}) as server:
        yield server
