"""`scripts/compare_deployments.py` and the idle times: the figures say what the servers did."""

from __future__ import annotations

import json
import os
import re
import sys
from pathlib import Path
from typing import Any

import compare_deployments
import idle_times
import pytest
from compare_deployments import Deployment, Latency
from process_memory import Memory

from tests.scripts.running import script


def deployment(figures: dict[str, Any]) -> Deployment:
    """What was printed as JSON, as the script had it."""
    latencies = {name: Latency(**figures[name]) for name in ("first", "warm", "after_idle")}
    memories = {name: Memory(**figures[name]) for name in ("idle", "in_use")}
    return Deployment(**{**figures, **latencies, **memories})


@pytest.fixture(scope="module")
def compared() -> dict[str, Any]:
    done = script("compare_deployments.py", "--variant", "lite", "--times", 1, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_two_resident_servers_hold_two_models_and_the_one_gives_its_model_back(compared: dict[str, Any]):
    two, one = compared["deployments"]
    assert (two["servers"], one["servers"]) == (2, 1)
    assert (two["copies_in_use"], two["copies_idle"]) == (2, 2)
    assert (one["copies_in_use"], one["copies_idle"]) == (1, 0)
    # A server, what forks its workers, and where its model is loaded a worker and the process that espeak-ng is in.
    assert (one["idle"]["processes"], two["idle"]["processes"]) == (2, 2 * 4)
    assert one["in_use"]["processes"] >= 4
    assert two["in_use"]["processes"] >= 2 * 4
    assert one["idle"]["pss"] < one["in_use"]["pss"]
    assert one["idle"]["pss"] < two["idle"]["pss"]
    for deployment in (two, one):
        assert 0 < deployment["first_load_s"] < 60
        assert deployment["idle"]["pss"] <= deployment["idle"]["rss"]
        for request in ("first", "warm", "after_idle"):
            assert 0 < deployment[request]["first_audio_s"] <= deployment[request]["complete_s"]


def test_loads_are_compared_with_their_like(compared: dict[str, Any]):
    two, one = compared["deployments"]
    assert two["later_load_s"] is None, "what is never unloaded is loaded once"
    assert 0 < one["later_load_s"] < 60


def test_idle_times_agree_with_the_formula(compared: dict[str, Any]):
    outcomes = compared["idle_times"]
    assert {outcome["idle_time_s"] for outcome in outcomes} == {60.0, 300.0, 600.0, 1800.0}
    known = [outcome for outcome in outcomes if outcome["formula_cold_share"] is not None]
    assert len(known) == 12
    for outcome in known:
        assert outcome["cold_share"] == pytest.approx(outcome["formula_cold_share"], abs=0.03)
        assert outcome["held_share"] == pytest.approx(outcome["formula_held_share"], abs=0.03)
    sessions = [outcome for outcome in outcomes if outcome["formula_cold_share"] is None]
    cold = [outcome["cold_share"] for outcome in sessions]
    held = [outcome["held_share"] for outcome in sessions]
    assert cold == sorted(cold, reverse=True)
    assert held == sorted(held)


def test_what_was_not_measured_is_said(compared: dict[str, Any]):
    said = " ".join(compared["not_measured"])
    for what in ("GPU memory", "published weights", "containers and their images"):
        assert what in said


def test_the_tables_show_the_same_figures(compared: dict[str, Any]):
    two, one = map(deployment, compared["deployments"])
    found = [idle_times.Outcome(**outcome) for outcome in compared["idle_times"]]
    report = compare_deployments.report([(two, one)], found)
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", report, re.MULTILINE))
    warm, cold = one.warm.first_audio_s, one.after_idle.first_audio_s
    assert f"| lite | {one.later_load_s:.3f} s | {warm:.2f} s | {cold:.2f} s | " in report
    assert rows["loaded models, idle"] == "2 | 0"
    assert rows["start to ready"] == f"{two.ready_s:.2f} s | {one.ready_s:.2f} s"
    assert rows["first load"] == f"{two.first_load_s:.3f} s, 2 at once | {one.first_load_s:.3f} s"
    assert rows["later load"] == f"none | {one.later_load_s:.3f} s"
    assert rows["warm request"] == f"{two.warm} | {one.warm}"
    for idle_time in ("60 s", "300 s", "600 s", "1800 s", "always on"):
        assert len(re.findall(r"\d+% cold, held \d+%", rows[idle_time])) == len(idle_times.PATTERNS)
    for what in compared["not_measured"]:
        assert f"- {what}" in report


def test_what_base_lacks_is_said_before_anything_is_measured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['torch'] = None\n")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    done = script("compare_deployments.py")
    assert done.returncode == 2
    assert "for base torch must be there: `make install EXTRAS=step`" in done.stderr
    assert "--variant lite" in done.stderr
    assert "measuring" not in done.stderr


def test_a_median_of_nothing_is_refused():
    done = script("compare_deployments.py", "--times", 0)
    assert done.returncode == 2
    assert "--times must be at least 1" in done.stderr
