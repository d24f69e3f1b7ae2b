"""`scripts/try_lazy_loading.py`: every step holds, and one that does not is named."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from tests.scripts.running import script

NAME = "try_lazy_loading.py"


def test_every_step_holds_on_the_preview_engine():
    done = script(NAME, "--idle-timeout", 3)
    assert (done.returncode, done.stderr) == (0, "")
    titles = re.findall(r"^\d\. (\w+)", done.stdout, re.MULTILINE)
    assert titles == ["create", "status", "first", "second", "idle", "use", "forced", "shutdown"]
    states = re.findall(
        r"^ +[\d.]+ s   state=(\w+), loads=(\d), unloads=(\d)   \d processe?s?", done.stdout, re.MULTILINE
    )
    assert states == [
        ("unloaded", "0", "0"), ("unloaded", "0", "0"), ("ready", "1", "0"), ("ready", "1", "0"),
        ("unloaded", "1", "1"), ("ready", "2", "1"), ("unloaded", "2", "2"), ("unloaded", "3", "3"),
    ]  # fmt: skip
    first, same, second, third = re.findall(r"it speaks: [\d.]+ s of audio from worker (\d+)", done.stdout)
    assert first == same
    assert len({first, second, third}) == 3
    assert re.search(r"unload in [0-3]\.\d s", done.stdout)
    assert done.stdout.rstrip().splitlines()[-1].startswith("Every step held.")


def test_a_step_that_does_not_hold_is_named(tmp_path: Path, native_root: Path):
    models = tmp_path / "models"
    for name in ("Step-Audio-EditX", "Step-Audio-Tokenizer"):
        shutil.copytree(native_root / name, models / name)
    shard = next((models / "Step-Audio-EditX").glob("*.safetensors"))
    with shard.open("r+b") as file:
        file.truncate(shard.stat().st_size - 1)
    done = script(NAME, "--idle-timeout", 1, "--variant", "base", "--model-path", models)
    assert done.returncode == 1
    assert done.stderr.startswith("step 3 (first use: the model is loaded) does not hold: ")
    assert shard.name in done.stderr


def test_arguments_that_leave_nothing_to_watch_are_refused(tmp_path: Path):
    never = script(NAME, "--idle-timeout", 0)
    assert never.returncode == 2
    assert "--idle-timeout must be more than 0 seconds" in never.stderr
    absent = script(NAME, "--variant", "awq", "--model-path", tmp_path)
    assert absent.returncode == 2
    assert "variant awq cannot be loaded: no weights at" in absent.stderr
