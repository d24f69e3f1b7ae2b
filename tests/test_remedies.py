"""Remedies name what can be done where they are read: outside of a container, and inside of the image."""

from __future__ import annotations

from pathlib import Path

import pytest

from editx import remedies
from editx.engines.layout import remedy

MODELS = Path("/models")


@pytest.fixture
def without_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)


def engine(root: Path, mark: str) -> Path:
    """A file system that looks like that of a container."""
    (root / mark).parent.mkdir(parents=True, exist_ok=True)
    (root / mark).touch()
    return root


def test_where_make_is_it_installs(tmp_path: Path) -> None:
    root = engine(tmp_path, ".dockerenv")  # such as a container that somebody develops in
    assert remedies.install("step", root) == "run `make install EXTRAS=step`"
    assert remedies.install(root=root) == "run `make install`"
    assert remedies.fetch("base", MODELS, root) == "fetch them with `editx pull --variant base --model-path /models`"


@pytest.mark.usefixtures("without_make")
def test_in_the_image_it_is_built_anew(tmp_path: Path) -> None:
    root = engine(tmp_path, ".dockerenv")
    assert remedies.install(root=root) == "rebuild the image"
    said = remedies.install("step", root)
    assert said == "rebuild the image with `--build-arg EXTRAS=step`"
    dockerfile = (Path(__file__).parents[1] / "deploy" / "Dockerfile").read_text("utf-8")
    assert "--build-arg EXTRAS=step" in dockerfile
    assert "\nARG EXTRAS=\n" in dockerfile


@pytest.mark.usefixtures("without_make")
@pytest.mark.parametrize(("mark", "command"), [
    (".dockerenv", "docker run --rm"),
    ("run/.containerenv", "podman run --rm --security-opt label=disable --userns=keep-id"),
])  # fmt: skip
def test_in_the_image_models_are_fetched_from_outside(tmp_path: Path, mark: str, command: str) -> None:
    said = remedies.fetch("awq", MODELS, engine(tmp_path, mark))
    assert said == (
        "fetch them on the host, into the DIRECTORY that is mounted at /models: "
        f'`{command} --user "$(id -u):$(id -g)" --volume DIRECTORY:/models IMAGE pull --variant awq`'
    )


@pytest.mark.usefixtures("without_make")
def test_in_a_cluster_another_pod_fetches_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    said = remedies.fetch("base", MODELS, tmp_path)
    assert said == "fetch them in a container that may write /models, with `editx pull --variant base`"
    assert remedy("base", MODELS).startswith("fetch them")  # what status and errors say is the same
