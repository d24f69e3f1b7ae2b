"""deploy/llama-swap/config.yaml: its keys against llama-swap's documentation, its command by running it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from editx.settings import Settings
from tests.deploy.paths import DEPLOY
from tests.deploy.programs import free_port, logged
from tests.running import RunningServer

# https://github.com/mostlygeek/llama-swap/blob/main/config-schema.json: what this file uses of it, with its types.
TOP = {"healthCheckTimeout": int, "models": dict}
OF_A_MODEL = {
    "cmd": str,
    "name": str,
    "description": str,
    "env": list,
    "proxy": str,
    "aliases": list,
    "checkEndpoint": str,
    "ttl": int,
    "unloadTimeout": int,
    "timeouts": dict,
    "capabilities": dict,
}
TIMEOUTS = {"connect", "keepalive", "responseHeader", "tlsHandshake", "expectContinue", "idleConn"}
MODALITIES = {"text", "audio", "image"}


@pytest.fixture(scope="module")
def config() -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load((DEPLOY / "llama-swap" / "config.yaml").read_text("utf-8"))
    return read


@pytest.fixture(scope="module")
def model(config: dict[str, Any]) -> dict[str, Any]:
    (only,) = config["models"].values()
    return dict(only)


def test_keys_and_types_are_documented(config: dict[str, Any], model: dict[str, Any]) -> None:
    for given, documented in ((config, TOP), (model, OF_A_MODEL)):
        assert {key: type(value) for key, value in given.items()} == {key: documented.get(key) for key in given}
    assert config["healthCheckTimeout"] >= 15
    assert model["timeouts"].keys() <= TIMEOUTS
    assert {modality for side in model["capabilities"].values() for modality in side} <= MODALITIES
    assert len(set(model["aliases"])) == len(model["aliases"])


def test_the_end_leaves_time_for_requests_under_way(model: dict[str, Any]) -> None:
    assert model["unloadTimeout"] > Settings.model_fields["drain_timeout"].default


def test_the_command_serves_where_the_proxy_looks(model: dict[str, Any], tmp_path: Path) -> None:
    port = str(free_port())
    environment = dict(pair.split("=", 1) for pair in model["env"])
    assert {name.removeprefix("EDITX_").lower() for name in environment} <= Settings.model_fields.keys()
    command = shlex.split(model["cmd"].replace("${PORT}", port))
    search = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, **environment, "PATH": search, "EDITX_DATA_DIR": str(tmp_path / "data")}
    with logged(command, tmp_path, environment) as running:
        running.wait_for_log("EditX is listening on")
        with httpx.Client(base_url=model["proxy"].replace("${PORT}", port)) as client:
            assert client.get(model["checkEndpoint"]).status_code == 200


def test_every_alias_is_a_model_that_the_server_knows(
    config: dict[str, Any], model: dict[str, Any], server: RunningServer
) -> None:
    for name in (*config["models"], *model["aliases"]):
        assert server.client.get(f"/v1/models/{name}").status_code == 200, name
