"""`editx bench`: figures that can be true, and nothing left of the worker."""

from __future__ import annotations

from tests.cli.running import CommandLine, all_gone


def test_the_preview_engine_is_measured(editx: CommandLine) -> None:
    found = editx.json("bench", "--runs", "1", EDITX_IDLE_TIMEOUT="0")
    assert (found["variant"], found["runs"]) == ("lite", 1)
    for speeds in (found["clone"], found["edit"]):
        assert speeds["cold"]["load_seconds"] > 0
        assert speeds["warm"]["load_seconds"] == 0
        for speed in speeds.values():
            assert speed["first_audio_seconds"] > 0
            assert speed["real_time_factor"] > 0
            assert 1 < speed["audio_seconds"] < 30
    assert found["loaded"]["ram_gb"] > 0
    assert found["unloaded"] == {"ram_gb": 0, "gpu_gb": 0}


def test_the_table_says_what_was_measured(editx: CommandLine) -> None:
    shown = editx("bench", "--runs", "1").stdout.decode()
    for word in ("clone, cold", "edit, warm", "real-time factor", "after unload: 0.00 GB of RAM", "variant lite"):
        assert word in shown


def test_interrupting_leaves_no_worker(editx: CommandLine) -> None:
    with editx.start("bench", "--runs", "100") as running:
        running.wait_for(r"clone, warm, 2 of 100")
        children = running.descendants()
        running.interrupt()
        assert running.wait() == 130
    assert children
    assert all_gone(children)


def test_a_variant_that_cannot_be_loaded_is_6(editx: CommandLine) -> None:
    assert "no weights" in editx.error("bench", "--variant", "base", code=6)
