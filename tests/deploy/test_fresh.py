"""scripts/fresh.sh short of running it, which `make fresh` does: what it says without rights, what it carries along."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from scripts.fresh import image
from scripts.fresh.dockerfile import RecipeError, read
from scripts.fresh.host import CERTIFICATES, Host

from tests.deploy.paths import ROOT

NOBODY = 65534


@pytest.fixture
def readable() -> Iterator[Path]:
    """A directory that others may read; pytest's own they may not."""
    with tempfile.TemporaryDirectory() as made:
        path = Path(made)
        path.chmod(0o755)
        yield path


def test_without_rights_it_says_what_it_needs(readable: Path) -> None:
    (readable / "scripts").mkdir()
    script = Path(shutil.copy(ROOT / "scripts" / "fresh.sh", readable / "scripts"))
    user = NOBODY if os.geteuid() == 0 else None
    done = subprocess.run(["bash", str(script)], user=user, capture_output=True, text=True, timeout=30)
    assert done.returncode == 1
    assert done.stderr == "scripts/fresh.sh needs root, to make a Debian tree and run in it: sudo make fresh\n"


def test_what_pip_was_told_here_is_carried_along(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index, wheels, bundle = tmp_path / "index" / "simple", tmp_path / "wheels", tmp_path / "bundle.pem"
    index.mkdir(parents=True)
    wheels.mkdir()
    bundle.touch()
    config = tmp_path / "pip.conf"
    config.write_text(f"[global]\nextra-index-url = file://{index}\n  file:///not/there\nfind-links = {wheels}\n"
                      f"constraint = {tmp_path}/limits.txt\n")  # fmt: skip
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", str(config))
    monkeypatch.setenv("PIP_CERT", str(bundle))
    monkeypatch.setenv("PIP_TIMEOUT", "77")
    monkeypatch.setenv("https_proxy", "http://proxy.example:3128")
    host = Host.here()
    assert host.environment["PIP_EXTRA_INDEX_URL"].split() == [f"file://{index}", "file:///not/there"]
    assert host.environment["PIP_FIND_LINKS"] == str(wheels)
    assert host.environment["PIP_TIMEOUT"] == "77"
    assert "PIP_CONSTRAINT" not in host.environment, "limits of this machine's own"
    assert host.environment["https_proxy"] == "http://proxy.example:3128"
    # An index links to files beside it, so its parent comes along.
    assert {index.parent, wheels} <= set(host.binds)
    assert Path("/not/there") not in host.binds
    assert (host.certificates, host.environment["PIP_CERT"]) == (bundle, CERTIFICATES)


def test_only_the_image_that_can_be_made_is_made(tmp_path: Path) -> None:
    recipe = read("FROM alpine:3.20\nRUN true", {})
    host = Host({}, (), None)
    with pytest.raises(RecipeError, match=r"alpine:3\.20 is no Debian"):
        image.build(recipe, tmp_path, tmp_path, tmp_path, host, {})


def test_the_context_is_what_builders_see(tmp_path: Path) -> None:
    for name in ("src/a.py", "models/weights", ".env"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".dockerignore").write_text("*\n!src\n")
    image.only_what_builders_see(tmp_path)
    assert [str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()] == ["src/a.py"]
