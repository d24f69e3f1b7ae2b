"""Containers and control groups, read from file systems that look like those of real machines."""

from __future__ import annotations

from pathlib import Path

import psutil
import pytest

from editx.container import container, memory_left, memory_limit
from editx.doctor.machine import check_container, check_memory

MIB = 2**20


def write(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


VERSION_2 = {
    "proc/self/cgroup": "0::/app/inner\n",
    "sys/fs/cgroup/app/memory.max": f"{1000 * MIB}\n",
    "sys/fs/cgroup/app/memory.current": f"{700 * MIB}\n",
    "sys/fs/cgroup/app/memory.stat": f"anon 5\ninactive_file {300 * MIB}\n",
    "sys/fs/cgroup/app/inner/memory.max": "max\n",
    "sys/fs/cgroup/app/inner/memory.current": f"{600 * MIB}\n",
}
VERSION_1 = {
    "proc/self/cgroup": "4:memory:/docker/0123\n3:cpuset:/\n0::/\n",
    "sys/fs/cgroup/memory/memory.limit_in_bytes": f"{1000 * MIB}\n",
    "sys/fs/cgroup/memory/memory.usage_in_bytes": f"{700 * MIB}\n",
    "sys/fs/cgroup/memory/memory.stat": f"inactive_file 7\ntotal_inactive_file {300 * MIB}\n",
}


@pytest.mark.parametrize("files", [VERSION_2, VERSION_1], ids=["version 2", "version 1"])
def test_the_tightest_limit_counts_and_cached_files_do_not(tmp_path: Path, files: dict[str, str]):
    root = write(tmp_path, files)
    assert memory_limit(root) == 1000 * MIB
    assert memory_left(root) == 600 * MIB


def test_no_limit_is_none(tmp_path: Path):
    assert memory_limit(tmp_path) is None
    unlimited = {**VERSION_1, "sys/fs/cgroup/memory/memory.limit_in_bytes": "9223372036854771712\n"}
    root = write(tmp_path, {**unlimited, "sys/fs/cgroup/memory.max": "max\n"})
    assert memory_limit(root) is None
    assert memory_left(root) is None


def test_memory_is_judged_by_what_the_control_group_leaves(tmp_path: Path):
    root = write(tmp_path, VERSION_2)
    check = check_memory(200 * MIB, root)
    assert check.status == "warn"
    assert check.facts["available_bytes"] == min(600 * MIB, psutil.virtual_memory().available)
    assert check.remedy
    assert check_memory(0, root).status == "ok"


def test_a_container_is_known_by_the_file_its_engine_leaves(tmp_path: Path):
    before = container(tmp_path)
    write(tmp_path, {"run/.containerenv": ""})
    assert container(tmp_path) == "podman"
    write(tmp_path, {".dockerenv": ""})
    assert container(tmp_path) == "docker"
    assert before not in ("podman", "docker")
    inside = check_container("127.0.0.1", tmp_path)
    assert inside.status == "warn"
    assert "--host 0.0.0.0" in inside.remedy
    assert check_container("0.0.0.0", tmp_path).status == "ok"
