"""Golden numbers: where they are, and the rule that fills the weights they were computed with.

The files under `tests/goldens` were computed with the reference implementation; each `.md` there says how. Other files
of the same format are checked by naming their directory: `EDITX_GOLDENS=DIR`. A family that has no file there is
checked with ours.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import safe_open

OURS = Path(__file__).parent / "goldens"


def matching(pattern: str) -> list[Path]:
    """The golden files whose name fits `pattern`: those of `EDITX_GOLDENS`, or ours where it has none. Fails if there
    are none at all."""
    named = os.environ.get("EDITX_GOLDENS")
    assert not named or Path(named).is_dir(), f"EDITX_GOLDENS={named} is no directory"
    found = sorted(Path(named).glob(pattern)) if named else []
    found = found or sorted(OURS.glob(pattern))
    assert found, f"no golden file {pattern}"
    return found


class Golden:
    """One golden file: `golden["name"]` is a tensor, `golden.config` the JSON of its metadata."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with safe_open(path, "pt") as file:
            self.metadata: dict[str, str] = file.metadata() or {}
            self.names = sorted(file.keys())

    def __getitem__(self, name: str) -> torch.Tensor:
        with safe_open(self.path, "pt") as file:
            tensor: torch.Tensor = file.get_tensor(name)
        return tensor

    def __contains__(self, name: str) -> bool:
        return name in self.names

    def __repr__(self) -> str:
        return self.path.stem

    @cached_property
    def config(self) -> dict[str, Any]:
        config: dict[str, Any] = json.loads(self.metadata.get("config", "{}"))
        return config

    @property
    def salt(self) -> str:
        return str(self.config.get("salt", self.metadata.get("salt", "")))

    def beside(self, pattern: str) -> Path:
        """The file that this one refers to by a name like `pattern`: the first in its own directory, else in another,
        which may hold other numbers under the same name."""
        return next(iter(sorted(self.path.parent.glob(pattern)) or matching(pattern)))


def family(prefix: str, holding: str = "") -> list[Golden]:
    """Every golden file whose name begins with `prefix`, of those with a tensor whose name begins with `holding`."""

    def some(paths: Iterable[Path]) -> list[Golden]:
        files = map(Golden, paths)
        return [file for file in files if any(name.startswith(holding) for name in file.names)]

    pattern = f"{prefix}*.safetensors"
    return some(matching(pattern)) or some(sorted(OURS.glob(pattern)))


def prompts(key: str) -> Any:
    """What `prompts*.json` say under `key`, lists of several files joined; what ours says where they do not."""
    documents = [json.loads(path.read_text("utf-8")) for path in matching("prompts*.json")]
    found = [document[key] for document in documents if key in document]
    found = found or [json.loads((OURS / "prompts.json").read_text("utf-8"))[key]]
    return list(chain.from_iterable(found)) if isinstance(found[0], list) else found[0]


def normal(name: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    """The named normal N(name, shape): float32, seeded with the first 8 bytes of sha256(name)."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "little")
    return np.asarray(np.random.default_rng(seed).standard_normal(shape, dtype=np.float32), np.float32)


def weight(key: str, shape: tuple[int, ...], salt: str = "") -> torch.Tensor:
    """The weight of one checkpoint key by the rule that both `.md` files state; float32."""
    x = normal(salt + key, shape)
    if key.endswith("running_var"):
        x = 1 + np.float32(0.1) * np.abs(x)
    elif key.endswith("running_mean"):
        x = np.float32(0.1) * x
    elif len(shape) >= 2:
        x = x / np.float32(math.sqrt(math.prod(shape[1:])))
    elif len(shape) == 1:
        x = 1 + np.float32(0.1) * x if key.endswith("weight") else np.float32(0.1) * x
    return torch.from_numpy(np.ascontiguousarray(x, np.float32))


def weights(shapes: Mapping[str, tuple[int, ...]], salt: str = "") -> dict[str, torch.Tensor]:
    """A state dict by the rule, for modules that need none of the exceptions."""
    return {key: weight(key, shape, salt) for key, shape in shapes.items()}
