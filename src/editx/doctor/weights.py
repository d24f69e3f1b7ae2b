"""Whether the weights of a variant are here and whole, and what it takes to run it."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from editx.backends.local import GPU_SHARE
from editx.doctor.check import Check, gb
from editx.doctor.gpu import Driver, Torch
from editx.doctor.needs import Device, Need, need_as_published, need_of_files
from editx.engines.catalog import VariantSpec
from editx.engines.layout import WEIGHT_DIRECTORIES, find_files, problems_of, remedy
from editx.engines.step.weights.header import open_checkpoint
from editx.errors import LoadFailed
from editx.settings import Settings

SHOWN_PROBLEMS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """Where native variants would run: on a GPU, of which `driver` tells, or on the CPU. `works`: torch does."""

    settings: Settings
    driver: Driver
    torch: Torch | None
    works: bool

    @property
    def on_gpu(self) -> bool:
        usable = bool(self.driver.cards) and self.torch is not None and self.torch.cuda is not None
        return usable and self.settings.device not in ("cpu", "mps")

    @property
    def device(self) -> Device:
        """Where they run, as far as can be told without torch: a Mac is taken for one that has MPS."""
        if self.on_gpu:
            return "cuda"
        chosen = self.settings.device
        return "mps" if chosen == "mps" or (chosen == "auto" and sys.platform == "darwin") else "cpu"

    def refusal(self, spec: VariantSpec) -> str:
        """Why the server would refuse to load a variant whatever else is loaded; empty if it would not."""
        largest = self.driver.largest
        budget = self.settings.gpu_memory_budget or (round(largest.total_bytes * GPU_SHARE) if largest else None)
        if budget is None or spec.memory_bytes <= budget:
            return ""
        return f"{gb(spec.memory_bytes)} are set aside for it until it was measured, and the budget is {gb(budget)}"


@dataclass(frozen=True, slots=True)
class Variant:
    """What was found of one native variant. `unusable`: why the server could not load it; empty if it could."""

    check: Check
    need: Need
    unusable: str


def check_weights(spec: VariantSpec, place: Place) -> Variant:
    """The files of one native variant, and what it needs."""
    name, model_path = f"weights {spec.name}", place.settings.model_path
    batch = place.settings.max_batch
    need = need_as_published(spec.name, batch, place.device)
    wrong = _what_is_wrong(model_path, spec.name)
    if not wrong:
        try:
            need = need_of_files(find_files(model_path, spec.name), batch, place.device)
        except LoadFailed as error:
            wrong = error.message
    here = (model_path / WEIGHT_DIRECTORIES[spec.name]).is_dir()
    facts = {
        "state": "complete" if not wrong else "incomplete" if here else "absent", "disk_bytes": need.disk_bytes,
        "memory_bytes": need.memory_bytes, "memory": "gpu" if place.on_gpu else "main", "source": need.source,
    }  # fmt: skip
    memory = f"about {gb(need.memory_bytes)} of {'GPU' if place.on_gpu else 'main'} memory (by {need.source})"
    if wrong:
        detail = f"{wrong}; would take {_room(need, model_path)} and {memory}"
        return Variant(Check(name, "warn", detail, remedy(spec.name, model_path), facts), need, wrong)
    detail = f"complete, {gb(need.disk_bytes)} on disk; takes {memory}"
    refused = place.refusal(spec)
    if refused:
        detail, do = f"{detail}; {refused}", "raise --gpu-memory-budget, or use a smaller variant"
        return Variant(Check(name, "warn", detail, do, facts), need, refused)
    free = max((card.free_bytes for card in place.driver.cards), default=0)
    if place.on_gpu and free < need.memory_bytes:
        detail, do = f"{detail}; {gb(free)} of it are free now", "end what else uses the GPU, or use a smaller variant"
        return Variant(Check(name, "warn", detail, do, facts), need, "")
    return Variant(Check(name, "ok", detail, facts=facts), need, "")


def _what_is_wrong(model_path: Path, variant: str) -> str:
    try:
        problems = list(map(str, problems_of(model_path, variant)))
        if not problems:
            open_checkpoint(model_path / WEIGHT_DIRECTORIES[variant])
    except LoadFailed as error:
        problems = [error.message]
    more = len(problems) - SHOWN_PROBLEMS
    return "; ".join(problems[:SHOWN_PROBLEMS]) + (f" and {more} more" if more > 0 else "")


def _room(need: Need, model_path: Path) -> str:
    """What the download takes of the disk, and whether there is that much."""
    there = next(path for path in (model_path.absolute(), *model_path.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    short = f" (only {gb(free)} are free in {there})" if free < need.disk_bytes else ""
    return f"{gb(need.disk_bytes)} of disk{short}"
