"""What the tests of the lite engine share: voices to work on, and one way to run a step."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

import editx
from editx.audio.clip import Clip
from editx.engines.base import Context, Progress
from editx.engines.lite.engine import LiteEngine
from editx.recipe import Step
from tests.engines.lite.measure import RATE

BUILTIN = Path(editx.__file__).parent / "builtin_voices"


@dataclass(frozen=True)
class Voice:
    samples: NDArray
    transcript: str

    @property
    def clip(self) -> Clip:
        return clip_of(self.samples)


def clip_of(samples: NDArray, rate: int = RATE) -> Clip:
    return Clip(np.ascontiguousarray(samples, dtype=np.float32), rate)


def index() -> list[dict[str, str]]:
    return json.loads((BUILTIN / "index.json").read_text(encoding="utf-8"))


def read_flac(path: Path) -> NDArray:
    with av.open(str(path)) as container:
        parts = [frame.to_ndarray().ravel() for frame in container.decode(audio=0)]
    return np.concatenate(parts).astype(np.float32) / 32768


def builtin_voice(name: str) -> Voice:
    entry = next(entry for entry in index() if entry["name"] == name)
    return Voice(read_flac(BUILTIN / entry["file"]), entry["transcript"])


def run(engine: LiteEngine, step: Step, clip: Clip, transcript: str = "", seed: int = 0) -> NDArray:
    """The whole result of a step, which must be sound a loudspeaker can play."""
    items = list(engine.run(step, clip, Context(transcript=transcript, seed=seed)))
    chunks = [item for item in items if isinstance(item, Clip)]
    assert any(isinstance(item, Progress) for item in items)
    assert all(chunk.rate == RATE for chunk in chunks)
    result = Clip.join(chunks).samples
    assert np.isfinite(result).all()
    assert np.abs(result).max() <= 1.0
    return result
