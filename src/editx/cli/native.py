"""What commands that work on weights need: the packages of the native engine."""

from __future__ import annotations

import importlib.util

from editx import remedies
from editx.errors import InvalidRequest

PACKAGES = ("torch", "sentencepiece", "safetensors")


def need_torch(purpose: str) -> None:
    """Raise InvalidRequest, with the remedy, where the native engine's packages are not installed."""
    missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise InvalidRequest(f"to {purpose}, {' and '.join(missing)} must be there; {remedies.install('step')}")
