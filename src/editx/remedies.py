"""What to do about what is missing, by where this runs: in the image is no make, and models are mounted read-only."""

from __future__ import annotations

import shutil
from pathlib import Path

from editx.container import ROOT, container

_KEEPING = {"docker": "", "podman": " --security-opt label=disable --userns=keep-id"}
"""What lets a container write the files of the user who starts it, besides being told who that is."""


def install(extra: str = "", root: Path = ROOT) -> str:
    """How the packages of EditX, or of one extra, come here. `root`: where the file system begins."""
    if _in_image(root):
        return f"rebuild the image with `--build-arg EXTRAS={extra}`" if extra else "rebuild the image"
    return f"run `make install EXTRAS={extra}`" if extra else "run `make install`"


def fetch(variant: str, model_path: Path, root: Path = ROOT) -> str:
    """How the files of a variant come into `model_path`."""
    pull = f"pull --variant {variant}"
    if not _in_image(root):
        return f"fetch them with `editx {pull} --model-path {model_path}`"
    engine = container(root)
    if engine not in _KEEPING:
        return f"fetch them in a container that may write {model_path}, with `editx {pull}`"
    return (
        f"fetch them on the host, into the DIRECTORY that is mounted at {model_path}: `{engine} run --rm"
        f'{_KEEPING[engine]} --user "$(id -u):$(id -g)" --volume DIRECTORY:{model_path} IMAGE {pull}`'
    )


def _in_image(root: Path) -> bool:
    return container(root) is not None and shutil.which("make") is None
