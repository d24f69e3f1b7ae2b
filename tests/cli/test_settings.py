"""Flags, variables and the settings file: which one wins, for commands and for the server."""

from __future__ import annotations

import re
from pathlib import Path

from editx.settings import Settings
from tests.cli.running import CommandLine
from tests.running import running_server

TOML = 'host = "localhost"\nport = 1111\nidle_timeout = 11\nqueue_size = 12\napi_key = "secret"\n'


def test_flags_win_over_variables_over_the_file_over_defaults(editx: CommandLine):
    (editx.folder / "editx.toml").write_text(TOML)
    (editx.folder / "other.toml").write_text("idle_timeout = 21\n")
    done = editx(
        "doctor", "--json", "--port", "0", EDITX_PORT="2222", EDITX_IDLE_TIMEOUT="22", EDITX_CORS_ORIGINS="a,b"
    )
    assert b"secret" not in done.stdout
    for expected in (
        b'"port": 0,', b'"idle_timeout": 22.0,', b'"queue_size": 12,', b'"host": "localhost",', b'"api_keys": 1',
        b'"drain_timeout": 30.0,',
    ):  # fmt: skip
        assert expected in done.stdout
    other = editx.json("doctor", "--port", "0", "--config", "other.toml", EDITX_CONFIG="gone.toml")["settings"]
    assert (other["idle_timeout"], other["queue_size"], other["host"]) == (21.0, 64, "127.0.0.1")


def test_a_server_is_run_by_them(tmp_path: Path):
    (tmp_path / "editx.toml").write_text("idle_timeout = 11\ndrain_timeout = 1\nmax_text_chars = 5\n")
    with running_server(tmp_path, "--idle-timeout", "33", "--no-zygote", env={"EDITX_IDLE_TIMEOUT": "22"}) as running:
        assert running.status()["idle_timeout"] == 33.0
        too_long = running.client.post("/v1/audio/speech", json={"input": "Good morning.", "voice": "alloy"})
        assert too_long.status_code == 413


def test_a_server_warns_of_variables_that_are_no_settings(tmp_path: Path):
    variables = {"EDITX_API_KEYS": "secret", "EDITX_XYZZY": "1", "EDITX_SERVER": "http://127.0.0.1:1"}
    with running_server(tmp_path, env=variables) as running:
        warnings = [line for line in running.log if line.startswith("warning: ")]
    assert warnings == [
        "warning: there is no setting EDITX_API_KEYS; rename EDITX_API_KEYS to EDITX_API_KEY",
        "warning: there is no setting EDITX_XYZZY; unset EDITX_XYZZY",
    ]


def test_a_file_that_does_not_fit_names_what_does_not(editx: CommandLine):
    (editx.folder / "editx.toml").write_text('port = "http"\nprot = 80\n')
    message = editx.error("doctor", code=2)
    assert "port: Input should be a valid integer" in message
    assert "prot: Extra inputs are not permitted" in message
    (editx.folder / "editx.toml").write_text("port = ")
    assert "the settings file editx.toml cannot be read" in editx.error("doctor", code=2)
    assert "gone.toml cannot be read" in editx.error("doctor", "--config", "gone.toml", code=2)


def test_every_setting_is_a_flag_of_serve(editx: CommandLine):
    shown = editx("serve", "--help").stdout.decode()
    flags = set(re.findall(r"^  (--[a-z-]+)", shown, re.MULTILINE))
    assert flags == {"--config"} | {f"--{name.replace('_', '-')}" for name in Settings.model_fields}
    assert "--zygote / --no-zygote" in shown
    assert "12GB" in shown
