"""deploy/kubernetes/editx.yaml, held against Kubernetes' own schema and against the server it runs."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest
import yaml
from scripts.fresh.dockerfile import read

from editx.settings import Settings
from tests.deploy.paths import DEPLOY
from tests.running import RunningServer

MANIFEST = list(yaml.safe_load_all((DEPLOY / "kubernetes" / "editx.yaml").read_text("utf-8")))


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    spec: dict[str, Any] = next(item for item in MANIFEST if item["kind"] == "Deployment")["spec"]["template"]["spec"]
    return spec


@pytest.fixture(scope="module")
def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["containers"]
    return dict(only)


@pytest.mark.parametrize("version", ["1.28", "1.31", "1.34", "1.37"])
def test_every_object_fits_the_schema(version: str) -> None:
    assert [item["kind"] for item in MANIFEST].count("PersistentVolumeClaim") == 2
    for item in MANIFEST:
        kubernetes_validate.validate(item, version, strict=True)


def test_the_schema_would_refuse_what_does_not_fit() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**MANIFEST[0], "specification": {}}, "1.31", strict=True)


@pytest.mark.parametrize("probe", ["startupProbe", "readinessProbe", "livenessProbe"])
def test_probes_are_answered_and_wake_nothing(container: dict[str, Any], probe: str, server: RunningServer) -> None:
    loads = server.status()["loads"]
    assert server.client.get(container[probe]["httpGet"]["path"]).status_code == 200
    assert server.status()["loads"] == loads


def test_a_full_queue_takes_no_pod_out(container: dict[str, Any]) -> None:
    """/readyz answers 503 then; clients of the only pod shall be told 429 by it, not find nobody there."""
    assert container["readinessProbe"]["httpGet"] == container["livenessProbe"]["httpGet"]


def test_nobody_is_root_and_nothing_is_written_but_volumes(pod: dict[str, Any], container: dict[str, Any]) -> None:
    user = pod["securityContext"]
    final = read((DEPLOY / "Dockerfile").read_text("utf-8"), {}).stages[-1]
    named = next(step.value for step in final.instructions if step.name == "USER")
    assert f"{user['runAsUser']}:{user['runAsGroup']}" == named
    assert user["runAsNonRoot"] is True
    assert user["fsGroup"] == user["runAsGroup"]  # so that the volume is the user's to write
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    mounts = {mount["mountPath"]: mount.get("readOnly", False) for mount in container["volumeMounts"]}
    assert mounts == {"/models": True, "/data": False, "/tmp": False}


def test_the_end_leaves_time_for_requests_under_way(pod: dict[str, Any], container: dict[str, Any]) -> None:
    before = int(container["lifecycle"]["preStop"]["exec"]["command"][-1])
    drain = Settings.model_fields["drain_timeout"].default
    assert pod["terminationGracePeriodSeconds"] > before + drain


def test_names_fit_together(pod: dict[str, Any], container: dict[str, Any]) -> None:
    claims = {item["metadata"]["name"] for item in MANIFEST if item["kind"] == "PersistentVolumeClaim"}
    used = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
    assert {volume["persistentVolumeClaim"]["claimName"] for volume in used} == claims
    assert {mount["name"] for mount in container["volumeMounts"]} == {volume["name"] for volume in pod["volumes"]}
    service = next(item for item in MANIFEST if item["kind"] == "Service")
    assert service["spec"]["ports"][0]["targetPort"] == container["ports"][0]["name"]
    assert container["ports"][0]["containerPort"] == Settings.model_fields["port"].default


def test_only_settings_are_set_and_no_service_link_sets_others(pod: dict[str, Any], container: dict[str, Any]) -> None:
    names = {variable["name"].removeprefix("EDITX_").lower() for variable in container["env"]}
    assert names <= Settings.model_fields.keys()
    assert pod["enableServiceLinks"] is False


def test_one_gpu_is_asked_for(container: dict[str, Any]) -> None:
    assert container["resources"]["limits"]["nvidia.com/gpu"] == 1
