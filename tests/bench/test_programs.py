"""The benchmarks of the native engine run, at sizes that say nothing about speed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


def run(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, f"bench/{program}", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.fixture(scope="module")
def without_bnb(native_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model root that lacks one variant."""
    root = tmp_path_factory.mktemp("bench") / "models"
    root.mkdir()
    for name in ("Step-Audio-EditX", "Step-Audio-Tokenizer"):
        (root / name).symlink_to(native_root / name)
    return root


def test_all_that_can_be_measured_is_though_a_stage_fails(without_bnb: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    small = ("--size", "tiny", "--rounds", "0", "--seconds", "1", "--batch", "2", "--variant", "bnb", "base")
    done = run("engine.py", *small, "--checkpoint", str(without_bnb), "--json", str(found))
    assert done.returncode == 1, done.stderr
    document: dict[str, Any] = json.loads(found.read_text("utf-8"))
    assert set(document["failed"]) == {"checkpoint bnb"}
    assert "Step-Audio-EditX-bnb-4bit is missing" in document["failed"]["checkpoint bnb"]
    assert "failed: checkpoint bnb" in done.stderr
    rows = {row["stage"]: row for row in document["rows"]}
    for stage in (
        "decode step, bnb, one layer, 1000 tokens of context",
        "prompt of 1000 tokens, one layer",
        "linguistic tokenizer, 1 s",
        "semantic tokenizer, 1 s",
        "flow, 4.0 s after a 4 s prompt",
        "vocoder, 4.0 s",
    ):
        assert len(rows[stage]["faster"]) == 3, stage
        assert rows[stage]["share"] > 0, stage
    for batch in (1, 2):
        for name in ("base, 2 of 2 layers", "bnb, 2 of 2 layers", "base, as loaded"):
            row = rows[f"whole decode step, {name}, batch {batch}"]
            assert row["tokens_per_second"] == pytest.approx(batch / row["seconds"])
    assert {"speaker embedding, 1 s", "prompt mel, 1 s"} < set(rows)
    parts = [row["seconds"] for stage, row in rows.items() if stage.startswith("load base, cold: ")]
    assert len(parts) == 8
    assert parts[-1] == pytest.approx(sum(parts[:-1]))
    assert rows["second edit of a clip, base: the whole"]["audio"] > 0
    assert "load base, cold: the whole" in done.stdout


def test_reading_with_and_without_conversion(tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    done = run("load.py", "--size", "30MB", "--rounds", "1", "--json", str(found))
    assert done.returncode == 0, done.stderr
    rates = json.loads(found.read_text("utf-8"))["bytes_per_second"]
    assert set(rates) == {"bfloat16 as it is", "bfloat16 to float32"}
    for conversion, found_rates in rates.items():
        assert conversion in done.stdout
        assert {"from memory to memory", "torch.load + copy", "mapped safetensors + copy"} < set(found_rates)
        assert all(rate > 0 for rate in found_rates.values())
