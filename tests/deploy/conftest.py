"""The machine that the start script's tests run on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.machine import Machine, machine_under


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Machine]:
    with machine_under(tmp_path) as made:
        yield made
