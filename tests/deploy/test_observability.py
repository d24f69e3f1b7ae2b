"""Prometheus' and Grafana's files, held against what a real server exports."""

from __future__ import annotations

import itertools
import json
import os
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from editx.settings import Settings
from tests.deploy import promql
from tests.deploy.paths import OBSERVABILITY, compose
from tests.running import RunningServer, running_server

ADDED_BY_PROMETHEUS = frozenset({"instance", "job"})
DASHBOARD = json.loads((OBSERVABILITY / "grafana" / "dashboards" / "editx.json").read_text("utf-8"))
ALERTS = [
    rule
    for group in yaml.safe_load((OBSERVABILITY / "alerts.yml").read_text("utf-8"))["groups"]
    for rule in group["rules"]
]
SHOWN = [target["expr"] for panel in DASHBOARD["panels"] for target in panel["targets"]]
WATCHED = [rule["expr"] for rule in ALERTS]
FIRING = Path(__file__).with_name("alerts.test.yml")


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Every time series of a server that has spoken, lost a worker and unloaded, with its labels."""
    with running_server(tmp_path_factory.mktemp("watched")) as server:
        _speak(server)
        pid = server.status()["pid"]
        assert isinstance(pid, int)
        os.kill(pid, signal.SIGKILL)
        server.wait_for_log("lite crashed")
        _speak(server)
        server.client.post("/api/v1/models/lite/unload").raise_for_status()
        text = server.client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        if not family.samples:  # a counter of what has not happened to any variant
            found[f"{family.name}_total"] = {"variant"}
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def _speak(server: RunningServer) -> None:
    body = {"model": "tts-1", "voice": "alloy", "input": "To be counted."}
    server.client.post("/v1/audio/speech", json=body).raise_for_status()


@pytest.mark.parametrize("expression", [*SHOWN, *WATCHED])
def test_every_query_reads_what_the_server_exports(expression: str, exported: dict[str, set[str]]) -> None:
    query = promql.read(expression)
    assert query.selected, "no metric is read"
    labels = {label for name, _ in query.selected for label in exported.get(name, set())} | ADDED_BY_PROMETHEUS
    for name, selected in query.selected:
        assert name == "up" or name in exported, f"{name} is not exported"
        assert selected <= exported.get(name, set()) | ADDED_BY_PROMETHEUS
    assert query.grouped <= labels


def test_everything_exported_is_shown(exported: dict[str, set[str]]) -> None:
    read = {name for expression in SHOWN for name, _ in promql.read(expression).selected}
    shown = {re.sub(r"_(bucket|total|sum|count)$", "", name) for name in read}
    families = {re.sub(r"_(bucket|total|sum|count|created)$", "", name) for name in exported}
    assert families - shown == set()


def test_a_query_of_something_else_would_be_noticed(exported: dict[str, set[str]]) -> None:
    query = promql.read('sum by (voice) (rate(editx_requests_total{route="/x", codes!~"5.."}[5m])) / editx_nothing')
    assert query.selected == (
        ("editx_requests_total", frozenset({"route", "codes"})),
        ("editx_nothing", frozenset()),
    )
    assert query.grouped == {"voice"}
    assert "editx_nothing" not in exported
    assert exported["editx_requests_total"] == {"method", "route", "status"}


def test_legends_name_labels_that_are_left() -> None:
    for panel in DASHBOARD["panels"]:
        for target in panel["targets"]:
            named = set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]))
            assert named <= promql.read(target["expr"]).grouped, panel["title"]


def test_panels_are_whole_and_lie_side_by_side() -> None:
    panels = DASHBOARD["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        assert panel["title"]
        assert panel["description"]
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = set(itertools.product(columns, range(place["y"], place["y"] + place["h"])))
        assert columns.stop <= 24
        assert not cells & taken, panel["title"]
        taken |= cells


def test_grafana_finds_the_data_and_the_dashboard() -> None:
    provisioning = OBSERVABILITY / "grafana" / "provisioning"
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]
    assert {panel["datasource"]["uid"] for panel in DASHBOARD["panels"]} == {source["uid"]}
    services = compose()["services"]
    assert source["url"] == "http://prometheus:9090"
    assert "9090" in services["prometheus"]["ports"][0].rpartition(":")[2]
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "editx.yaml").read_text("utf-8"))["providers"]
    mounted = dict(volume.split(":")[:2] for volume in services["grafana"]["volumes"])
    assert mounted["./observability/grafana/dashboards"] == provider["options"]["path"]
    home = services["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{provider['options']['path']}/editx.json"


def test_prometheus_finds_the_server_and_its_key(tmp_path: Path) -> None:
    config = yaml.safe_load((OBSERVABILITY / "prometheus.yml").read_text("utf-8"))
    assert all((OBSERVABILITY / name).exists() for name in config["rule_files"])
    (job,) = config["scrape_configs"]
    services = compose()["services"]
    (alias,) = services["editx-gpu"]["networks"]["default"]["aliases"]
    assert job["static_configs"] == [{"targets": [f"{alias}:{Settings.model_fields['port'].default}"]}]
    # The container's own first line, with its file in a place of the test's.
    line = services["prometheus"]["entrypoint"][-1].splitlines()[0].replace("$$", "$")
    file = job["authorization"]["credentials_file"]
    assert file in line
    key = tmp_path / "key"
    environment = {"PATH": os.environ["PATH"], "EDITX_API_KEY": "first,second"}
    subprocess.run(["sh", "-c", line.replace(file, str(key))], env=environment, check=True)
    assert key.read_text() == "first"


@pytest.mark.parametrize("rule", ALERTS, ids=lambda rule: rule["alert"])
def test_alerts_say_what_is_wrong_and_what_to_do(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("warning", "critical")
    told = rule["annotations"]
    assert told.keys() == {"summary", "remedy"}
    for setting in re.findall(r"EDITX_([A-Z_]+)", told["remedy"]):
        assert setting.lower() in Settings.model_fields
    labels = set(re.findall(r"\$labels\.(\w+)", told["summary"]))
    assert labels <= promql.read(rule["expr"]).grouped | ADDED_BY_PROMETHEUS


@pytest.mark.parametrize("arguments", [
    ["check", "rules", OBSERVABILITY / "alerts.yml"],
    ["check", "config", "--syntax-only", OBSERVABILITY / "prometheus.yml"],
    ["test", "rules", FIRING],
], ids=lambda arguments: "-".join(arguments[:2]))  # fmt: skip
def test_prometheus_own_tool_agrees(arguments: list[str | Path]) -> None:
    done = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "FAILED" not in done.stdout


def test_every_alert_is_made_to_fire() -> None:
    fired = re.findall(r'alertname="(\w+)"', FIRING.read_text("utf-8"))
    assert {rule["alert"] for rule in ALERTS} == set(fired)
