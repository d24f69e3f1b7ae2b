"""deploy/compose.yaml, read by docker-compose itself."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from scripts.fresh.dockerfile import assigned, read

from editx.settings import Settings
from tests.deploy.paths import DEPLOY, compose

OURS = ("editx-cpu", "editx-gpu")
PROFILES = {"cpu": {"editx-cpu"}, "gpu": {"editx-gpu"}, "observability": {"prometheus", "grafana"}}


def configured(*arguments: str, **variables: str) -> dict[str, Any]:
    """The services as docker-compose understands them, with these variables and no others."""
    done = subprocess.run(
        ["docker-compose", "-f", str(DEPLOY / "compose.yaml"), *arguments, "config"],
        env={"PATH": os.environ["PATH"], "HOME": "/nonexistent", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_is_understood(profile: str) -> None:
    services = configured("--profile", profile)
    assert {name for name, service in services.items() if profile in service["profiles"]} == PROFILES[profile]


def test_defaults_are_those_of_the_start_script() -> None:
    gpu = configured("--profile", "gpu")["editx-gpu"]
    assert gpu["container_name"] == "step-audio-unified"
    assert gpu["ports"] == ["127.0.0.1:7860:7860/tcp"]
    assert gpu["environment"]["EDITX_IDLE_TIMEOUT"] == "300"
    assert gpu["volumes"] == [f"{DEPLOY.parent}/models:/models:ro", "editx-data:/data:rw"]
    device = gpu["deploy"]["resources"]["reservations"]["devices"][0]
    assert device == {"driver": "nvidia", "device_ids": ["0"], "capabilities": ["gpu"]}


def test_settings_of_the_environment_arrive(tmp_path: Path) -> None:
    gpu = configured(
        PORT="9000", BIND="0.0.0.0", GPU_ID="1", IDLE_TIMEOUT="60", PROJECT_DIR=str(tmp_path), EDITX_API_KEY="secret"
    )["editx-gpu"]
    assert gpu["ports"] == ["0.0.0.0:9000:7860/tcp"]
    assert gpu["environment"]["EDITX_IDLE_TIMEOUT"] == "60"
    assert gpu["environment"]["EDITX_API_KEY"] == "secret"
    assert gpu["volumes"][0] == f"{tmp_path}/models:/models:ro"
    assert gpu["deploy"]["resources"]["reservations"]["devices"][0]["device_ids"] == ["1"]


@pytest.mark.parametrize("name", OURS)
def test_every_setting_can_be_made(name: str) -> None:
    final = read((DEPLOY / "Dockerfile").read_text("utf-8"), {}).stages[-1]
    fixed = {
        variable
        for step in final.instructions
        if step.name == "ENV"
        for variable in assigned(step.value, {})
        if variable.startswith("EDITX_")
    }
    passed = compose()["services"][name]["environment"].keys()
    assert fixed | passed == {f"EDITX_{setting.upper()}" for setting in Settings.model_fields}
    assert not fixed & passed


@pytest.mark.parametrize("name", OURS)
def test_a_container_may_do_no_more_than_it_must(name: str) -> None:
    service = compose()["services"][name]
    assert service["read_only"] is True
    assert service["tmpfs"] == ["/tmp"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert "privileged" not in service
    drain = Settings.model_fields["drain_timeout"].default
    assert int(service["stop_grace_period"].removesuffix("s")) > drain


def test_what_is_built_is_the_image_of_the_profile() -> None:
    services = compose()["services"]
    for name, device, image in (("editx-cpu", "cpu", "editx:cpu"), ("editx-gpu", "cuda", "editx:latest")):
        build = services[name]["build"]
        assert services[name]["image"] == image
        assert build["args"] == {"DEVICE": device}
        assert (DEPLOY / build["context"] / build["dockerfile"]).samefile(DEPLOY / "Dockerfile")


@pytest.mark.parametrize("name", ["prometheus", "grafana"])
def test_images_of_others_are_pinned_and_their_ports_stay_here(name: str) -> None:
    service = compose()["services"][name]
    assert re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    mounted = [volume.split(":")[0] for volume in service["volumes"] if volume.startswith("./")]
    assert mounted
    assert all((DEPLOY / source).exists() for source in mounted)
