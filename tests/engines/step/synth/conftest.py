"""One tiny checkpoint of every variant for all tests here; none of them changes it."""

from __future__ import annotations

from pathlib import Path

import pytest

from editx.engines.step.synth.checkpoint import write_checkpoint


@pytest.fixture(scope="session")
def tiny_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("models")
    write_checkpoint(root, ("base", "awq", "bnb"), seed=3)
    return root
