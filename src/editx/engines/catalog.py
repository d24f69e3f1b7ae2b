"""Which variants exist, what they need, and whether they could be loaded here.

The server reads this table; it imports no engine. Directories are those of spec 10 §1 and 30.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from editx.engines.layout import TOKENIZER_DIRECTORY, WEIGHT_DIRECTORIES, problems_of, remedy
from editx.errors import LoadFailed
from editx.remedies import install


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One set of weights that can be served.

    `entry`: "module:function" of its `OpenEngine`, imported in the worker only. `slots`: requests it works on at once.
    `options`: plain values handed to `open_engine`. `reason`: why it cannot be loaded here; empty when it can.
    `memory_bytes`: what it is believed to take of the memory budget until a peak was measured.
    """

    name: str
    title: str
    entry: str
    slots: int = 1
    options: dict[str, object] = field(default_factory=dict)
    reason: str = ""
    memory_bytes: int = 0
    uses_gpu: bool = False

    @property
    def available(self) -> bool:
        return not self.reason


_NATIVE = (
    ("base", "Step-Audio-EditX, bfloat16", 14 * 10**9),
    ("awq", "Step-Audio-EditX, AWQ int4", 9 * 10**9),
    ("bnb", "Step-Audio-EditX, NF4", 9 * 10**9),
)


def catalog(
    model_path: Path, *, device: str = "auto", max_batch: int = 4, cache: Path | None = None
) -> tuple[VariantSpec, ...]:
    """Every variant, best first, as it stands now for the weights under `model_path`.

    `device`, `max_batch` and `cache`, a directory for converted weights, are handed to the native engine.
    """
    native = tuple(
        VariantSpec(
            name=name,
            title=title,
            entry="editx.engines.step.engine:open_engine",
            slots=max_batch,
            options={
                "model_path": str(model_path),
                "device": device,
                "max_batch": max_batch,
                "cache": str(cache or model_path),
            },
            reason=_why_not(name, model_path),
            memory_bytes=memory_bytes,
            uses_gpu=device not in ("cpu", "mps"),
        )
        for name, title, memory_bytes in _NATIVE
    )
    lite = VariantSpec(
        name="lite",
        title="Preview engine: espeak-ng and WORLD on the CPU, no weights",
        entry="editx.engines.lite.engine:open_engine",
        slots=2,
    )
    return (*native, lite)


def find(specs: tuple[VariantSpec, ...], name: str) -> VariantSpec | None:
    """The variant called `name`, or None."""
    return next((spec for spec in specs if spec.name == name), None)


def first_available(specs: tuple[VariantSpec, ...]) -> VariantSpec:
    """The best variant that can be loaded; `lite` always can."""
    return next(spec for spec in specs if spec.available)


def _why_not(name: str, model_path: Path) -> str:
    directories = [model_path / WEIGHT_DIRECTORIES[name], model_path / TOKENIZER_DIRECTORY]
    missing = [path for path in directories if not path.is_dir() or not any(path.iterdir())]
    if missing:
        return f"no weights at {' and '.join(map(str, missing))}; {remedy(name, model_path)}"
    try:
        problems = [str(problem) for problem in problems_of(model_path, name)]
    except LoadFailed as error:
        problems = [error.message]
    if problems:
        more = f" and {len(problems) - 3} more" if len(problems) > 3 else ""
        return f"{'; '.join(problems[:3])}{more}; {remedy(name, model_path)}"
    if importlib.util.find_spec("torch") is None:
        return f"the native engine needs torch; {install('step')}"
    return ""
