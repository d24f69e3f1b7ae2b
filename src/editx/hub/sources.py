"""The two hubs: how each lists the files of a repository, and where each file is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from editx.errors import ModelUnavailable
from editx.hub.digest import Digest
from editx.hub.http import Http
from editx.hub.published import Repository, is_safe, is_useful

HUGGING_FACE = "https://huggingface.co"
MODELSCOPE = "https://modelscope.cn"
SOURCES = {"huggingface": HUGGING_FACE, "modelscope": MODELSCOPE}
_MOST_PAGES = 100


@dataclass(frozen=True, slots=True)
class RemoteFile:
    """A file in a hub. `size` in bytes; `digest` is None where the hub states none."""

    repository: Repository
    path: str
    size: int
    digest: Digest | None
    url: str


def list_files(http: Http, source: str, endpoint: str, repository: Repository) -> list[RemoteFile]:
    """The files of a repository that are worth fetching, by path.

    Raises NotFound where the hub has no such repository, ModelUnavailable where it cannot be reached or answers
    something else than a list of files.
    """
    listed = _hugging_face if source == "huggingface" else _modelscope
    files = []
    try:
        for file in listed(http, endpoint.rstrip("/"), repository):
            if not is_safe(file.path):
                raise ModelUnavailable(
                    f"{endpoint} names the file {file.path!r} of {repository.name}, which is no path"
                )
            if is_useful(file.path):
                files.append(file)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ModelUnavailable(
            f"{endpoint} does not list the files of {repository.name} as {source} does ({error!r}); "
            "check --endpoint and --source"
        ) from error
    if not files:
        raise ModelUnavailable(f"{repository.name} at {endpoint} holds no files")
    return sorted(files, key=lambda file: file.path)


def _hugging_face(http: Http, endpoint: str, repository: Repository) -> Iterator[RemoteFile]:
    api = f"{endpoint}/api/models/{repository.name}"
    commit = str(http.json(f"{api}/revision/main")[0]["sha"])
    page: str | None = f"{api}/tree/{quote(commit, safe='')}?recursive=true"
    for _ in range(_MOST_PAGES):
        if page is None:
            return
        entries, page = http.json(page)
        for entry in entries:
            if entry["type"] != "file":
                continue
            path, large = str(entry["path"]), entry.get("lfs")
            digest = _digest("sha256", large["oid"]) if large else _digest("git", entry.get("oid"))
            size = int(large["size"] if large else entry["size"])
            url = f"{endpoint}/{repository.name}/resolve/{quote(commit, safe='')}/{quote(path)}"
            yield RemoteFile(repository, path, size, digest, url)
    raise ValueError("the list of files does not end")


def _modelscope(http: Http, endpoint: str, repository: Repository) -> Iterator[RemoteFile]:
    listed, _ = http.json(f"{endpoint}/api/v1/models/{repository.name}/repo/files?Revision=master&Recursive=true")
    for entry in listed["Data"]["Files"]:
        if entry["Type"] == "tree":
            continue
        path = str(entry["Path"])
        url = f"{endpoint}/models/{repository.name}/resolve/master/{quote(path)}"
        yield RemoteFile(repository, path, int(entry["Size"]), _digest("sha256", entry.get("Sha256")), url)


def _digest(kind: str, value: Any) -> Digest | None:
    length = 64 if kind == "sha256" else 40
    if not isinstance(value, str) or not re.fullmatch(rf"(sha256:)?[0-9a-fA-F]{{{length}}}", value):
        return None
    return Digest(kind, value.removeprefix("sha256:").lower())
