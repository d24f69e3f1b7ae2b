"""Where the start script takes its settings from, and what it thinks of them.

There is no container engine on the machine this is built on: a recording stand-in takes its place here.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from editx.settings import Settings
from tests.deploy.machine import ROOT, Machine, arguments, shown_commands


def environment_of(machine: Machine, **settings: object) -> dict[str, str]:
    """The variables that the container would get; empty where the value is not shown."""
    (command,) = shown_commands(machine.start("--dry-run", **settings).stdout)
    given = (variable.partition("=") for variable in arguments(command, "--env"))
    return {name: value for name, _, value in given}


def write_env(machine: Machine, text: str) -> Path:
    path = machine.script.parent / ".env"
    path.write_text(text)
    return path


LINES = (
    ("\ufeffEDITX_X=marked by an editor", "marked by an editor"),  # which it is in the first line only
    ("EDITX_X=plain", "plain"),
    ("export EDITX_X=exported", "exported"),
    ("  EDITX_X = spaces around  ", "spaces around"),
    ("EDITX_X='single # quoted'", "single # quoted"),
    ('EDITX_X="double # quoted"   # a comment', "double # quoted"),
    ("EDITX_X=value # a comment", "value"),
    ("EDITX_X=a#b", "a#b"),
    ("EDITX_X=a=b", "a=b"),
    ("EDITX_X='it says \"hello\"'", 'it says "hello"'),
    ("EDITX_X=windows\r", "windows"),
    ("EDITX_X=中文", "中文"),
    ("EDITX_X=$HOME `id` $(id) \\n *", "$HOME `id` $(id) \\n *"),
    ("EDITX_X=", None),
    ("EDITX_X=''", None),
    ("EDITX_X= # a comment", None),
    ("#EDITX_X=1", None),
    ("", None),
    ("EDITX_X=last, with no end of line", "last, with no end of line"),
)


def test_lines_of_the_settings_file(machine: Machine) -> None:
    """Each under a name of its own; None where the variable is not set."""
    named = [line.replace("EDITX_X", f"EDITX_X{number}") for number, (line, _) in enumerate(LINES)]
    write_env(machine, "\n".join(named))
    found = environment_of(machine)
    assert [found.get(f"EDITX_X{number}") for number in range(len(LINES))] == [value for _, value in LINES]


@pytest.mark.parametrize(("line", "said"), [
    ("touch RAN", "line 2: expected NAME=VALUE"),
    ("EDITX_API_KEY='secret", "line 2: the quotes around the value of EDITX_API_KEY do not match"),
    ('EDITX_API_KEY="secret" more', "line 2: the quotes around the value of EDITX_API_KEY do not match"),
    ("2PORT=secret", "line 2: expected NAME=VALUE"),
])  # fmt: skip
def test_lines_that_are_none(machine: Machine, line: str, said: str) -> None:
    path = write_env(machine, f"# settings\n{line}\n")
    done = machine.start()
    assert done.returncode == 2
    assert f"error: {path}, {said}" in done.stdout
    assert "secret" not in done.stdout
    assert machine.calls == []


def test_a_settings_file_is_never_run(machine: Machine) -> None:
    write_env(machine, 'GPU_ID=0$(touch RAN)\nPATH=/nowhere\nEDITX_X="$(touch RAN)`touch RAN`"\nIMAGE=a;touch RAN\n')
    done = machine.start()
    assert done.returncode == 2
    assert "GPU_ID=0$(touch RAN): expected the number of a GPU" in done.stdout
    assert list(machine.root.rglob("RAN")) == []


def test_other_names_in_the_file_are_left_out_and_named(machine: Machine) -> None:
    path = write_env(machine, "LD_PRELOAD=/x.so\nIDLE_TIMOUT=5\nIDLE_TIMEOUT=6\n")
    done = machine.start("--dry-run")
    assert f"warn settings    {path}, line 1: LD_PRELOAD is no setting of this script and is left out" in done.stdout
    assert "line 2: IDLE_TIMOUT is no setting" in done.stdout
    assert "EDITX_IDLE_TIMEOUT=6" in done.stdout


def test_the_environment_wins_over_the_file_and_the_file_over_defaults(machine: Machine) -> None:
    write_env(machine, "IDLE_TIMEOUT=10\nEDITX_MAX_BATCH=2\nEDITX_QUEUE_SIZE=3\nCONTAINER_NAME=another\n")
    found = environment_of(machine, EDITX_MAX_BATCH="8", CONTAINER_NAME="")
    assert found == {"EDITX_IDLE_TIMEOUT": "10", "EDITX_MAX_BATCH": "8", "EDITX_QUEUE_SIZE": "3"}
    assert "--name another" in machine.start("--dry-run", CONTAINER_NAME="").stdout


def test_another_file_by_flag(machine: Machine) -> None:
    write_env(machine, "IDLE_TIMEOUT=10\n")
    (machine.root / "my settings").write_text("IDLE_TIMEOUT=20\n")
    for flags in (["--env-file", str(machine.root / "my settings")], [f"--env-file={machine.root / 'my settings'}"]):
        assert "EDITX_IDLE_TIMEOUT=20" in machine.start("--dry-run", *flags).stdout


def test_a_file_that_is_not_there(machine: Machine) -> None:
    done = machine.start("--env-file", "nowhere")
    assert done.returncode == 2
    assert "the settings file nowhere cannot be read" in done.stdout


@pytest.mark.parametrize("kind", ["a directory", "a link to nowhere", "a file of somebody else"])
def test_a_file_beside_the_script_that_cannot_be_read(machine: Machine, kind: str) -> None:
    """Left out silently, its key would be missing."""
    path = machine.script.parent / ".env"
    if kind == "a directory":
        path.mkdir()
    elif kind == "a link to nowhere":
        path.symlink_to(machine.root / "nowhere")
    else:
        path.touch(mode=0)
        if os.access(path, os.R_OK):
            pytest.skip("root reads everything")
    done = machine.start()
    assert done.returncode == 2
    assert f"error: the settings file {path} cannot be read" in done.stdout
    assert machine.calls == []


def test_the_example_is_taken_as_it_stands(machine: Machine) -> None:
    """With every line that is commented out switched on."""
    text = (ROOT / "deploy" / ".env.example").read_text("utf-8")
    write_env(machine, re.sub(r"^#([A-Z_]+=)", r"\1", text, flags=re.MULTILINE))
    shown = machine.start("--dry-run").stdout
    assert "warn settings" not in shown
    assert "--memory 16g" in shown


def test_every_setting_of_the_server_can_be_handed_on(machine: Machine) -> None:
    """Except those that are fixed inside the container, which are named."""
    fixed = {"host", "port", "model_path", "data_dir"}
    names = [f"EDITX_{name.upper()}" for name in Settings.model_fields if name not in fixed]
    assert set(names) <= set(environment_of(machine, **dict.fromkeys(names, "1")))
    shown = machine.start("--dry-run", EDITX_PORT="1", EDITX_DATA_DIR="/elsewhere", EDITX_CONFIG="/x.toml").stdout
    for name in ("EDITX_PORT", "EDITX_DATA_DIR", "EDITX_CONFIG"):
        assert f"warn settings    {name} is left out: it is fixed inside the container" in shown
        assert f"--env {name}" not in shown


@pytest.mark.parametrize(("settings", "value"), [
    ({}, "300"),
    ({"IDLE_TIMEOUT": "60"}, "60"),
    ({"EDITX_IDLE_TIMEOUT": "90"}, "90"),
    ({"IDLE_TIMEOUT": "60", "EDITX_IDLE_TIMEOUT": "90"}, "60"),
    ({"IDLE_TIMEOUT": "-1"}, "-1"),
    ({"IDLE_TIMEOUT": "0.5"}, "0.5"),
])  # fmt: skip
def test_the_idle_timeout(machine: Machine, settings: dict[str, str], value: str) -> None:
    assert environment_of(machine, **settings)["EDITX_IDLE_TIMEOUT"] == value


@pytest.mark.parametrize(("name", "value"), [
    ("PORT", "abc"), ("PORT", "0"), ("PORT", "65536"), ("PORT", "08"), ("GPU_ID", "x"), ("GPU_ID", "0,1"),
    ("IDLE_TIMEOUT", "five"), ("IDLE_TIMEOUT", "5m"), ("BIND", "localhost"), ("IMAGE", "--privileged"),
    ("IMAGE", "a b"), ("CONTAINER_NAME", "-x"), ("CONTAINER_ENGINE", "lxc"), ("READY_TIMEOUT", "0"),
    ("MEMORY_LIMIT", "much"), ("PIDS_LIMIT", "-1"),
])  # fmt: skip
def test_values_that_do_not_fit(machine: Machine, name: str, value: str) -> None:
    done = machine.start(**{name: value})
    assert done.returncode == 2
    assert f"error: {name}={value}: expected " in done.stdout
    assert machine.calls == []


def test_all_values_that_do_not_fit_are_named(machine: Machine) -> None:
    shown = machine.start(PORT="abc", GPU_ID="x", IDLE_TIMEOUT="long").stdout
    assert re.findall(r"^error: (\w+)=", shown, re.MULTILINE) == ["GPU_ID", "PORT", "IDLE_TIMEOUT"]


@pytest.mark.parametrize("flags", [["--dryrun"], ["start"], ["--env-file"]])
def test_flags_that_are_none(machine: Machine, flags: list[str]) -> None:
    done = machine.start(*flags)
    assert done.returncode == 2
    assert flags[0] in done.stdout
    assert machine.calls == []


def test_help_names_every_setting(machine: Machine) -> None:
    done = machine.start("--help")
    assert done.returncode == 0
    assert machine.calls == []
    parts = (machine.script.parent / "start" / "settings.sh").read_text("utf-8")
    expected = set(re.findall(r"^    ([A-Z_]+)=\$\{", parts, re.MULTILINE))
    assert len(expected) == 11
    assert set(re.findall(r"^  ([A-Z_]+) ", done.stdout, re.MULTILINE)) == expected


def test_models_are_looked_for_in_the_current_directory(machine: Machine) -> None:
    assert machine.start(PROJECT_DIR=None).returncode == 0
    assert f"type=bind,src={machine.models},dst=/models,readonly" in machine.command()


def test_the_script_works_by_any_way_to_it(machine: Machine) -> None:
    """By a relative path, from its own directory, by bash, by a link to it, and whatever CDPATH says."""
    write_env(machine, "CONTAINER_NAME=found\n")
    directory = machine.script.parent
    (machine.project / "deploy").symlink_to(directory)
    (machine.bin / "start-editx").symlink_to(machine.script)
    name = machine.script.name
    for call, where in (
        ([f"deploy/{name}"], machine.project),
        ([f"./{name}"], directory),
        (["bash", name], directory),
        (["bash", f"deploy/{name}"], machine.root),
        (["start-editx"], machine.project),
        ([str(machine.bin / "start-editx")], machine.root),
    ):
        for more in ({}, {"CDPATH": f"{machine.root}:{machine.root / 'elsewhere'}"}):
            done = subprocess.run(
                [*call, "--dry-run"], env=machine.settings(**more), cwd=where, capture_output=True, text=True
            )
            assert "--name found" in done.stdout, (call, where, more, done.stderr)


def test_cdpath_does_not_lead_to_other_models(machine: Machine) -> None:
    (machine.root / "decoy" / "project" / "models").mkdir(parents=True)
    machine.project = machine.root
    assert machine.start(PROJECT_DIR="project", CDPATH=machine.root / "decoy").returncode == 0
    assert f"type=bind,src={machine.models},dst=/models,readonly" in machine.command()
