"""What the start script does with the container engine; see machine.py for what plays it.

There is no container engine on the machine this is built on: a recording stand-in takes its place here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import httpx
import pytest

from tests.deploy.machine import NAME, Machine, arguments, shown_commands


def test_the_container_is_confined_watched_and_restarted(machine: Machine) -> None:
    done = machine.start()
    assert done.returncode == 0, done.stdout
    command = machine.command()
    assert command[:2] == ["run", "--detach"]
    assert command[-1] == "editx:latest"
    expected = {
        "--name": [NAME],
        "--restart": ["unless-stopped"],
        "--stop-timeout": ["40"],
        "--publish": [f"127.0.0.1:{machine.port}:7860"],
        "--health-cmd": ["python /opt/editx/health.py"],
        "--cap-drop": ["ALL"],
        "--security-opt": ["no-new-privileges"],
        "--tmpfs": ["/tmp"],
        "--gpus": ["device=0"],
        "--mount": ["type=volume,src=editx-data,dst=/data", f"type=bind,src={machine.models},dst=/models,readonly"],
        "--env": ["EDITX_IDLE_TIMEOUT=300"],
    }
    assert {flag: arguments(command, flag) for flag in expected} == expected
    assert "--read-only" in command
    for never in ("--privileged", "--user", "--shm-size", "--ipc", "--memory", "--pids-limit"):
        assert never not in command


def test_limits_are_set_where_they_are_asked_for(machine: Machine) -> None:
    machine.start(MEMORY_LIMIT="16g", PIDS_LIMIT="512", GPU_ID="1")
    command = machine.command()
    assert arguments(command, "--memory") == ["16g"]
    assert arguments(command, "--pids-limit") == ["512"]
    assert arguments(command, "--gpus") == ["device=1"]


def test_a_gpu_may_be_named_by_its_uuid(machine: Machine) -> None:
    assert machine.start(GPU_ID="GPU-bbbb-11").returncode == 0
    assert arguments(machine.command(), "--gpus") == ["device=GPU-bbbb-11"]


def test_it_says_where_everything_is(machine: Machine) -> None:
    shown = machine.start().stdout
    url = f"http://127.0.0.1:{machine.port}"
    for line in (
        f"page           {url}/\n",
        f"API, docs      {url}/docs\n",
        f"health         {url}/healthz\n",
        f"model status   {url}/api/v1/models/status\n",
        f"watch it       docker logs -f {NAME}\n",
        f"unload now     docker exec {NAME} editx models unload base --server http://127.0.0.1:7860\n",
        f"stop it        docker stop {NAME}\n",
    ):
        assert line in shown


def test_a_second_start_changes_nothing(machine: Machine) -> None:
    assert machine.start().returncode == 0
    again = machine.start()
    assert again.returncode == 0
    assert f"{NAME} is running already, with these settings" in again.stdout
    assert f"http://127.0.0.1:{machine.port}/\n" in again.stdout
    assert machine.commands() == ["run"]


def test_a_stopped_container_is_started_again(machine: Machine) -> None:
    machine.start()
    machine.stop_container()
    again = machine.start()
    assert again.returncode == 0, again.stdout
    assert "is started again" in again.stdout
    assert machine.commands() == ["run", "start"]


@pytest.mark.parametrize("change", [{"IDLE_TIMEOUT": "60"}, {"EDITX_API_KEY": "another"}, {"BIND": "127.0.0.2"}])
def test_other_settings_need_leave_to_replace(machine: Machine, change: dict[str, str]) -> None:
    """And without a terminal nobody can be asked, so that the script says how."""
    machine.start(EDITX_API_KEY="a-key")
    refused = machine.start(**({"EDITX_API_KEY": "a-key"} | change))
    assert refused.returncode == 1
    assert f"{NAME} is there already (running), with other settings" in refused.stdout
    assert "→ --replace stops and removes it first" in refused.stdout
    assert machine.commands() == ["run"]


def test_a_new_image_of_the_same_name_is_not_the_same_container(machine: Machine) -> None:
    machine.start()
    machine.answer("images.json", json.dumps({"editx:latest": "sha256:cccc"}))
    assert machine.start().returncode == 1
    assert machine.start("--replace").returncode == 0
    assert machine.commands() == ["run", "stop", "rm", "run"]


def test_a_container_of_somebody_else_is_not_touched_unasked(machine: Machine) -> None:
    other = {"status": "exited", "label": "", "restarts": 0, "ports": ""}
    machine.answer("containers.json", json.dumps({NAME: other}))
    assert machine.start().returncode == 1
    assert machine.commands() == []
    assert machine.start("--replace").returncode == 0
    assert machine.commands() == ["rm", "run"]  # it was stopped already


@pytest.mark.parametrize(("state", "said", "remedy"), [
    ("paused", "is paused, with these settings", f"go on with it: docker unpause {NAME}; or --replace"),
    ("restarting", "ends again and again", f"its log says why: docker logs --tail 30 {NAME}; then --replace"),
])  # fmt: skip
def test_a_container_of_these_settings_that_does_not_run(machine: Machine, state: str, said: str, remedy: str) -> None:
    """Its settings are not what is wrong with it."""
    machine.start()
    machine.kill_container()
    stuck = {name: {**container, "status": state, "pid": 0} for name, container in machine.containers.items()}
    machine.answer("containers.json", json.dumps(stuck))
    refused = machine.start()
    assert refused.returncode == 1
    assert f"fail container   {NAME} {said}" in refused.stdout
    assert f"→ {remedy}" in refused.stdout
    assert "other settings" not in refused.stdout
    other = machine.start(IDLE_TIMEOUT=60)
    assert f"{NAME} is there already ({state}), with other settings" in other.stdout
    replaced = machine.start("--replace")
    assert replaced.returncode == 0, replaced.stdout
    assert machine.commands() == ["run", "stop", "rm", "run"]


@pytest.mark.parametrize(("answer", "code", "commands"), [
    ("y", 0, ["run", "stop", "rm", "run"]), ("n", 1, ["run"]), ("", 1, ["run"]),
])  # fmt: skip
def test_on_a_terminal_it_asks(machine: Machine, answer: str, code: int, commands: list[str]) -> None:
    machine.start()
    done, shown = machine.start_on_terminal(answer, IDLE_TIMEOUT=60)
    assert f"Stop and remove {NAME} (running), and start it anew? [y/N]" in shown
    assert done == code, shown
    assert machine.commands() == commands


def test_nobody_is_asked_before_everything_else_is_right(machine: Machine) -> None:
    machine.start()
    machine.answer("runtimes.json", "[]")
    done, shown = machine.start_on_terminal("y", IDLE_TIMEOUT=60)
    assert done == 1
    assert "[y/N]" not in shown
    assert machine.commands() == ["run"]


def test_a_dry_run_prints_the_exact_command_and_starts_nothing(machine: Machine) -> None:
    machine.root.joinpath("a b").mkdir()
    machine.models.rename(machine.root / "a b" / "models")
    settings = {"PROJECT_DIR": machine.root / "a b", "EDITX_CORS_ORIGINS": "https://a.example, 'b' $HOME"}
    shown = machine.start("--dry-run", **settings)
    assert shown.returncode == 0
    assert machine.commands() == []
    machine.start(**settings)
    assert shown_commands(shown.stdout) == [["docker", *machine.command()]]


def test_a_dry_run_shows_what_would_be_replaced(machine: Machine) -> None:
    machine.start()
    shown = shown_commands(machine.start("--dry-run", "--replace").stdout)
    assert [command[1] for command in shown] == ["stop", "rm", "run"]
    assert "nothing: it is running already" in machine.start("--dry-run").stdout
    machine.stop_container()
    assert shown_commands(machine.start("--dry-run").stdout) == [["docker", "start", NAME]]
    assert machine.commands() == ["run"]


def test_a_dry_run_prints_the_command_even_where_it_could_not_run(machine: Machine) -> None:
    machine.remove("nvidia-smi")
    shown = machine.start("--dry-run")
    assert shown.returncode == 1
    assert shown_commands(shown.stdout)[0][:2] == ["docker", "run"]
    assert "fail gpu" in shown.stdout


def test_a_key_is_handed_on_and_never_shown(machine: Machine) -> None:
    secret = "k3y-that-nobody-should-read"
    machine.script.parent.joinpath(".env").write_text(f"EDITX_API_KEY={secret}\n")
    done = machine.start("--dry-run"), machine.start()
    assert [each.returncode for each in done] == [0, 0]
    assert not any(secret in each.stdout for each in done)
    assert not any(secret in argument for call in machine.calls for argument in call)  # what `ps` would show
    assert "EDITX_API_KEY" in arguments(machine.command(), "--env")
    assert machine.containers[NAME]["environment"]["EDITX_API_KEY"] == secret
    assert "EDITX_API_KEY" not in done[1].stdout  # whose shell need not have it


def test_the_same_by_podman(machine: Machine) -> None:
    machine.remove("docker")
    machine.install("podman", "engine")
    machine.install("nvidia-ctk", "nvidia-ctk")
    machine.answer("cdi", "INFO[0000] Found 1 CDI devices\nnvidia.com/gpu=0\n")
    done = machine.start()
    assert done.returncode == 0, done.stdout
    assert "podman 5.2.0" in done.stdout
    assert f"podman logs -f {NAME}" in done.stdout
    command = machine.command()
    assert "--gpus" not in command
    assert arguments(command, "--device") == ["nvidia.com/gpu=0"]
    assert arguments(command, "--security-opt") == ["no-new-privileges", "label=disable"]
    assert arguments(command, "--restart") == ["always"]


def test_without_a_gpu(machine: Machine) -> None:
    machine.remove("nvidia-smi")
    machine.answer("runtimes.json", "[]")
    done = machine.start("--cpu")
    assert done.returncode == 0, done.stdout
    command = machine.command()
    assert command[-1] == "editx:cpu"
    assert "--gpus" not in command
    assert "EDITX_DEVICE=cpu" in arguments(command, "--env")
    assert "nvidia-smi" not in done.stdout


def test_it_shows_progress_until_ready(machine: Machine) -> None:
    machine.play("9")  # asked three times a second at most, so that this lasts longer than the 2 s until the first line
    done = machine.start()
    assert done.returncode == 0, done.stdout
    assert re.search(
        r"Waiting for \S+/readyz, at most 120 s\n +\d+ s: the container is running, answers 503: the queue is full",
        done.stdout,
    )
    assert re.search(r"Ready after \d+ s\.", done.stdout)


def test_a_container_that_dies_shows_its_last_words(machine: Machine) -> None:
    machine.play("die")
    done = machine.start()
    assert done.returncode == 1
    assert "error: the data directory cannot be written" in done.stdout
    assert "line 60\n" in done.stdout
    assert "line 5\n" not in done.stdout
    assert "ended while starting; it was removed, so that it does not try for ever" in done.stdout
    assert machine.commands() == ["run", "rm"]
    assert machine.containers == {}


def test_a_container_that_is_never_ready_is_given_up(machine: Machine) -> None:
    machine.play("-1")
    done = machine.start(READY_TIMEOUT=1)
    assert done.returncode == 1
    assert re.search(rf"{NAME} was not ready within 1 s \((answers 503: .*|no answer yet)\)", done.stdout)
    assert f"docker logs -f {NAME}" in done.stdout
    assert machine.commands() == ["run"]


def test_a_running_container_that_dies_is_left_to_its_restart_policy(machine: Machine) -> None:
    machine.play("-1")
    machine.start(READY_TIMEOUT=1)
    with machine.starting() as process:
        assert process.stdout is not None
        shown = next(line for line in process.stdout if line.startswith("Waiting for"))
        machine.kill_container()
        shown += process.stdout.read()
    assert process.returncode == 1
    assert "ended while it was waited for" in shown
    assert machine.commands() == ["run"]


def test_what_could_not_be_started_is_not_left_behind(machine: Machine) -> None:
    machine.answer("run.fails", "docker: Error response from daemon: could not select device driver")
    done = machine.start()
    assert done.returncode == 1
    assert "could not select device driver" in done.stdout
    assert f"docker could not start {NAME}, see above" in done.stdout
    assert machine.containers == {}


def test_a_real_server_is_waited_for_and_found(machine: Machine) -> None:
    """`editx serve` itself plays the container, set by what the script handed on."""
    data = machine.root / "data"
    machine.answer("program.json", json.dumps([sys.executable, "-m", "editx", "serve", "--data-dir", str(data)]))
    done = machine.start(EDITX_API_KEY="a-key", IDLE_TIMEOUT="77", EDITX_MAX_BATCH="2")
    assert done.returncode == 0, done.stdout
    status_url = re.search(r"model status +(\S+)", done.stdout)
    assert status_url
    assert httpx.get(status_url[1]).status_code == 401
    status = httpx.get(status_url[1], headers={"Authorization": "Bearer a-key"}).json()
    assert status["lite"]["idle_timeout"] == 77
    unload = re.search(rf"unload now +docker exec {NAME} editx (.*) --server \S+\n", done.stdout)
    assert unload  # what it says is tried where the container has its keys, against the port that it has here
    command = [sys.executable, "-m", "editx", *unload[1].split(), "--server", f"http://127.0.0.1:{machine.port}"]
    keys = {"PATH": os.environ["PATH"], "EDITX_API_KEY": "a-key,another"}
    told = subprocess.run(command, env=keys, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    assert "running already" in machine.start(EDITX_API_KEY="a-key", IDLE_TIMEOUT="77", EDITX_MAX_BATCH="2").stdout
