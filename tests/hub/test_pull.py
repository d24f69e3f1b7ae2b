"""Pulling from a real server that breaks off, lies, hides and refuses."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import threading
from pathlib import Path

import httpx
import pytest

from editx.cancellation import Cancellation
from editx.errors import Cancelled, Conflict, InvalidRequest, ModelUnavailable, NotFound, TooLarge
from editx.hub.http import Http, Unreachable
from editx.hub.published import is_safe, is_useful, repositories
from editx.hub.pull import Pulled, pull
from editx.hub.sources import RemoteFile
from tests.hub.conftest import EDITX, TOKENIZER
from tests.hub.hub import Fault, Hub

WEIGHTS = "model-00001.safetensors"
USELESS = {
    "CosyVoice-300M-25Hz/speech_tokenizer_v1.onnx", "modeling_step1.py", "lib/liboptimus_ths-torch.so",
    ".gitattributes", "dengcunqin/F/tokens.txt",
}  # fmt: skip


def run(hub: Hub, models: Path, **more: object) -> list[Pulled]:
    return pull(models, ["base"], **{"endpoint": hub.url, "pause_s": 0.01, **more})  # type: ignore[arg-type]


def right(hub: Hub, models: Path) -> bool:
    """Whether exactly the useful files are there, with the hub's content."""
    wanted = {
        f"{name.removeprefix('stepfun-ai/')}/{path}": data
        for name, files in hub.repositories.items()
        for path, data in files.items()
        if path not in USELESS
    }
    found = {
        str(path.relative_to(models)): path.read_bytes()
        for path in models.rglob("*")
        if path.is_file() and not path.name.startswith((".editx-pull", ".editx-files"))
    }
    return found == wanted


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_everything_useful_arrives(hub: Hub, tmp_path: Path, source: str) -> None:
    pulled = run(hub, tmp_path, source=source)
    assert right(hub, tmp_path)
    assert [result.directory.name for result in pulled] == ["Step-Audio-EditX", "Step-Audio-Tokenizer"]
    assert sum(result.fetched_bytes for result in pulled) == sum(
        len(data) for files in hub.repositories.values() for path, data in files.items() if path not in USELESS
    )


def test_a_second_pull_fetches_nothing(hub: Hub, tmp_path: Path) -> None:
    run(hub, tmp_path)
    hub.requests.clear()
    again = run(hub, tmp_path)
    assert not hub.requests
    assert not any(result.fetched for result in again)
    assert sum(len(result.kept) for result in again) == 9


def test_a_file_that_changed_here_or_there_is_fetched_again(hub: Hub, tmp_path: Path) -> None:
    run(hub, tmp_path)
    hub.requests.clear()
    local = tmp_path / "Step-Audio-EditX" / WEIGHTS
    data = bytearray(local.read_bytes())
    data[1000] ^= 1
    local.write_bytes(data)
    hub.repositories[EDITX]["config.json"] = b"[]"
    pulled = run(hub, tmp_path)
    assert sorted(path for path, _ in hub.requests) == ["config.json", WEIGHTS]
    assert pulled[0].fetched == ("config.json", WEIGHTS)
    assert right(hub, tmp_path)


def test_files_that_came_another_way_are_checked_and_kept(hub: Hub, tmp_path: Path) -> None:
    target = tmp_path / "Step-Audio-EditX" / WEIGHTS
    target.parent.mkdir(parents=True)
    target.write_bytes(hub.repositories[EDITX][WEIGHTS])
    assert WEIGHTS in run(hub, tmp_path)[0].kept
    assert not hub.fetched(WEIGHTS)


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_a_connection_that_breaks_is_gone_on_with(hub: Hub, tmp_path: Path, source: str) -> None:
    hub.faults[WEIGHTS] = Fault(breaks=4)
    run(hub, tmp_path, source=source)
    assert right(hub, tmp_path)
    ranges = hub.fetched(WEIGHTS)
    starts = [int(asked.removeprefix("bytes=").removesuffix("-")) for asked in ranges[1:]]
    assert ranges[0] == ""
    assert starts == sorted(starts)
    assert 140_000 < starts[0] <= 150_000
    assert starts[-1] > 275_000


def test_a_pull_that_was_given_up_is_gone_on_with_by_the_next(hub: Hub, tmp_path: Path) -> None:
    cancellation = Cancellation()
    hub.held = WEIGHTS
    failure: list[BaseException] = []
    some = threading.Event()

    class Watcher:
        def planned(self, count: int, size: int) -> None: ...

        def advanced(self, file: RemoteFile, done: int) -> None:
            if file.path == WEIGHTS and done:
                some.set()

        def fetched(self, file: RemoteFile) -> None: ...

    def work() -> None:
        try:
            run(hub, tmp_path, cancellation=cancellation, watcher=Watcher())
        except Cancelled as error:
            failure.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    assert some.wait(30)
    cancellation.cancel("enough")
    hub.release.set()
    thread.join(30)
    assert failure
    assert not (tmp_path / "Step-Audio-EditX" / WEIGHTS).exists()
    (part,) = (tmp_path / "Step-Audio-EditX").glob(f".{WEIGHTS}.*.part")
    size = part.stat().st_size
    assert size > 0
    hub.held = ""
    run(hub, tmp_path)
    assert hub.fetched(WEIGHTS)[-1] == f"bytes={size}-"
    assert right(hub, tmp_path)


def test_a_part_of_another_version_is_not_gone_on_with(hub: Hub, tmp_path: Path) -> None:
    folder = tmp_path / "Step-Audio-EditX"
    folder.mkdir()
    (folder / f".{WEIGHTS}.0123456789ab.part").write_bytes(b"old" * 1000)
    run(hub, tmp_path)
    assert hub.fetched(WEIGHTS) == [""]


def test_a_server_that_ignores_ranges_starts_over(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(breaks=1, without_ranges=True)
    run(hub, tmp_path)
    assert len(hub.fetched(WEIGHTS)) == 2
    assert right(hub, tmp_path)


def test_a_range_that_begins_elsewhere_is_refused(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(breaks=1, stale_range=True)
    with pytest.raises(ModelUnavailable, match=r"from 150000 of 300000 on and sends bytes 150001"):
        run(hub, tmp_path)


def test_wrong_bytes_are_fetched_once_more(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(wrong=1)
    hub.faults["config.json"] = Fault(wrong=1)
    run(hub, tmp_path)
    assert right(hub, tmp_path)


@pytest.mark.parametrize("path", [WEIGHTS, "config.json"])
def test_a_checksum_that_stays_wrong_is_an_error_and_leaves_no_file(hub: Hub, tmp_path: Path, path: str) -> None:
    hub.faults[path] = Fault(wrong=99)
    with pytest.raises(ModelUnavailable, match=r"fetched twice .*checksum"):
        run(hub, tmp_path)
    assert not (tmp_path / "Step-Audio-EditX" / path).exists()
    assert len(hub.fetched(path)) == 2
    assert not list((tmp_path / "Step-Audio-EditX").glob(f".{path}.*.part"))


def test_more_bytes_than_announced_are_an_error(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(longer=True)
    with pytest.raises(ModelUnavailable, match="fetched twice"):
        run(hub, tmp_path)


def test_a_redirect_is_followed_with_its_range(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(redirects=True, breaks=1)
    run(hub, tmp_path)
    assert hub.fetched(WEIGHTS) == ["", "bytes=150000-"]
    assert right(hub, tmp_path)


def test_a_busy_server_is_asked_again(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(refusals=3)
    hub.list_refusals = 3
    run(hub, tmp_path)
    assert right(hub, tmp_path)


def test_a_server_that_stays_busy_is_given_up(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(refusals=99)
    with pytest.raises(Unreachable, match=r"answers 503 \(6 attempts\)"):
        run(hub, tmp_path)
    assert len(hub.fetched(WEIGHTS)) == 6


def test_a_file_that_is_gone_names_itself(hub: Hub, tmp_path: Path) -> None:
    hub.faults[WEIGHTS] = Fault(gone=True)
    with pytest.raises(NotFound, match=WEIGHTS):
        run(hub, tmp_path)


def test_a_repository_that_is_not_there_is_named(hub: Hub, tmp_path: Path) -> None:
    del hub.repositories[TOKENIZER]
    with pytest.raises(NotFound, match=TOKENIZER):
        run(hub, tmp_path)
    assert not hub.requests


def test_offline_says_what_is_missing(tmp_path: Path, hub: Hub) -> None:
    run(hub, tmp_path)
    (tmp_path / "Step-Audio-EditX" / "tokenizer.model").unlink()
    with pytest.raises(ModelUnavailable, match=r"cannot be reached") as error:
        pull(tmp_path, ["base"], endpoint="http://127.0.0.1:9", pause_s=0.001)
    for path in ("tokenizer.model is missing", "CosyVoice-300M-25Hz/hift.pt is missing", "cosyvoice.yaml is missing"):
        assert path in error.value.message
    assert "flow.pt" not in error.value.message


def test_a_disk_that_is_too_full_is_told_before_anything_is_fetched(hub: Hub, tmp_path: Path) -> None:
    """The free space is asked of the real disk; the hub claims a file that fits on none."""

    class Huge(bytes):
        def __len__(self) -> int:
            return 10**18

    hub.repositories[EDITX][WEIGHTS] = Huge(b"x" * 2000)
    with pytest.raises(TooLarge, match=r"1000000000\.\d GB are to be fetched"):
        run(hub, tmp_path)
    assert not hub.requests


def test_only_one_pull_at_a_time(hub: Hub, tmp_path: Path) -> None:
    hub.held = WEIGHTS
    thread = threading.Thread(target=lambda: run(hub, tmp_path))
    thread.start()
    assert hub.waiting.wait(30)
    with pytest.raises(Conflict, match="another pull"):
        run(hub, tmp_path)
    hub.held = ""
    hub.release.set()
    thread.join(30)
    assert right(hub, tmp_path)


@pytest.mark.parametrize(
    ("more", "said"), [({"source": "elsewhere"}, "no source"), ({"endpoint": "ftp://x"}, "--endpoint")]
)
def test_odd_sources_are_refused(hub: Hub, tmp_path: Path, more: dict[str, object], said: str) -> None:
    with pytest.raises((InvalidRequest, ModelUnavailable), match=said):
        run(hub, tmp_path, **more)


def test_an_endpoint_of_another_kind_is_told_apart(hub: Hub, tmp_path: Path) -> None:
    hub.repositories[EDITX] = {}
    with pytest.raises(ModelUnavailable, match="holds no files"):
        run(hub, tmp_path)


@pytest.mark.parametrize("path", ["../evil", "/etc/passwd", "a/../../b", "a\\b", "c:x", "a//b", "./a", "a\nb", ""])
def test_paths_that_lead_outside_are_refused(hub: Hub, tmp_path: Path, path: str) -> None:
    assert not is_safe(path)
    if path:
        hub.repositories[EDITX][path] = b"evil"
        with pytest.raises(ModelUnavailable, match="no path"):
            run(hub, tmp_path / "models")
    assert not (tmp_path / "evil").exists()


def test_a_place_that_cannot_be_written_is_told(hub: Hub, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InvalidRequest, match="cannot write"):
        run(hub, tmp_path / "file" / "models")
    (tmp_path / "models" / "Step-Audio-EditX").mkdir(parents=True)
    (tmp_path / "models" / "Step-Audio-EditX" / "CosyVoice-300M-25Hz").write_text("in the way")
    with pytest.raises(InvalidRequest, match="cannot"):
        run(hub, tmp_path / "models")


def test_progress_adds_up(hub: Hub, tmp_path: Path) -> None:
    class Watcher:
        def __init__(self) -> None:
            self.planned_bytes = 0
            self.done: dict[str, int] = {}

        def planned(self, count: int, size: int) -> None:
            self.planned_bytes = size

        def advanced(self, file: RemoteFile, done: int) -> None:
            self.done[f"{file.repository.name}/{file.path}"] = done

        def fetched(self, file: RemoteFile) -> None:
            assert self.done[f"{file.repository.name}/{file.path}"] == file.size

    hub.faults[WEIGHTS] = Fault(breaks=2)
    watcher = Watcher()
    run(hub, tmp_path, watcher=watcher)
    assert sum(watcher.done.values()) == watcher.planned_bytes > 500_000


@pytest.mark.parametrize("source", ["huggingface", "modelscope"])
def test_every_file_is_recorded_with_its_sha256(hub: Hub, tmp_path: Path, source: str) -> None:
    run(hub, tmp_path, source=source)
    for name in (EDITX, TOKENIZER):
        directory = tmp_path / name.removeprefix("stepfun-ai/")
        entries = json.loads((directory / ".editx-files.json").read_text())
        files = [path for path in directory.rglob("*") if path.is_file() and path.name != ".editx-files.json"]
        assert {path: entry["sha256"] for path, entry in entries.items()} == {
            str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
        }


def test_a_damaged_record_only_costs_a_check(hub: Hub, tmp_path: Path) -> None:
    run(hub, tmp_path)
    for record in tmp_path.rglob(".editx-files.json"):
        record.write_text("{")
    hub.requests.clear()
    run(hub, tmp_path)
    assert not hub.requests


def test_a_touched_file_is_checked_not_fetched(hub: Hub, tmp_path: Path) -> None:
    run(hub, tmp_path)
    hub.requests.clear()
    os.utime(tmp_path / "Step-Audio-EditX" / WEIGHTS, ns=(1, 1))
    run(hub, tmp_path)
    assert not hub.requests
    shutil.rmtree(tmp_path / "Step-Audio-Tokenizer")
    run(hub, tmp_path)
    assert len(hub.requests) == 3


def test_what_a_variant_needs() -> None:
    names = [repository.name for repository in repositories(["awq", "bnb", "awq"])]
    assert names == [
        "stepfun-ai/Step-Audio-EditX-AWQ-4bit", "stepfun-ai/Step-Audio-EditX-bnb-4bit", TOKENIZER,
    ]  # fmt: skip
    with pytest.raises(InvalidRequest, match="lite"):
        repositories(["lite"])
    for path in (
        "config.json",
        "CosyVoice-300M-25Hz/campplus.onnx",
        "speech_tokenizer_v1.onnx",
        "LICENSE",
        "README.md",
    ):
        assert is_useful(path)
    for path in USELESS | {"assets/logo.PNG"}:
        assert not is_useful(path)


def test_cancelling_ends_a_pause_at_once() -> None:
    cancellation = Cancellation()
    threading.Timer(0.2, cancellation.cancel).start()
    with Http(cancellation, pause_s=30.0, timeout=httpx.Timeout(5.0)) as http, pytest.raises(Cancelled):
        http.json("http://127.0.0.1:9/")
