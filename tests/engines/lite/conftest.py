from __future__ import annotations

import pytest

from editx.engines.lite.engine import LiteEngine, open_engine
from tests.engines.lite.helpers import Voice, builtin_voice


@pytest.fixture(scope="session")
def engine() -> LiteEngine:
    return open_engine("lite", {}, lambda progress: None)


@pytest.fixture(scope="session")
def woman() -> Voice:
    return builtin_voice("maple")


@pytest.fixture(scope="session")
def man() -> Voice:
    return builtin_voice("rowan")


@pytest.fixture(scope="session")
def deep() -> Voice:
    return builtin_voice("granite")


@pytest.fixture(scope="session")
def young() -> Voice:
    return builtin_voice("pip")
