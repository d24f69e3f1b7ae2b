"""`editx doctor`: what would work, what would not, and why."""

from __future__ import annotations

import re
import socket
from typing import Any

from tests.cli.conftest import KeyedServer
from tests.cli.running import CommandLine

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000000000\n"


def checks(found: dict[str, Any]) -> dict[str, tuple[str, str]]:
    return {check["name"]: (check["status"], check["detail"]) for check in found["checks"]}


def test_a_machine_without_gpu_and_weights_could_serve(editx: CommandLine):
    found = editx.json("doctor", "--port", 0)
    assert found["could_serve"]
    assert found["variant"] == "lite"
    seen = checks(found)
    assert {name: status for name, (status, _) in seen.items() if status != "ok"} == {
        name: "warn"
        for name, (_, detail) in seen.items()
        if name == "native engine" or name.startswith("Step-Audio") or "GB free" in detail
        if seen[name][0] != "ok"
    }
    for name in ("python", "preview engine", "gpu", "port", "zygote", "decoder", "would serve"):
        assert seen[name][0] == "ok", seen[name]
    assert "espeak-ng speaks" in seen["preview engine"][1]
    assert all(check["remedy"] for check in found["checks"] if check["status"] != "ok")
    shown = editx("doctor", "--port", 0).stdout.decode()
    assert re.findall(r"^(?:ok  |warn|fail) ", shown, re.MULTILINE) == [
        f"{check['status']:<4} " for check in found["checks"]
    ]
    assert shown.endswith("EditX would serve here, with the variant lite.\n")


def test_weights_that_are_pointers_are_told_from_weights(editx: CommandLine):
    for name, weights in (
        ("Step-Audio-EditX", POINTER),
        ("Step-Audio-EditX-AWQ-4bit", b"\0" * 2_000_000),
        ("Step-Audio-Tokenizer", b"\0" * 2_000_000),
    ):
        (editx.folder / "models" / name).mkdir(parents=True)
        (editx.folder / "models" / name / "model.safetensors").write_bytes(weights)
        (editx.folder / "models" / name / "config.json").write_text("{}")
    (editx.folder / "models" / "Step-Audio-EditX-bnb-4bit").mkdir()
    found = editx.json("doctor", "--port", 0)
    seen = checks(found)
    assert seen["Step-Audio-EditX"] == ("warn", "1 of 2 files are git-LFS pointers, such as model.safetensors")
    assert seen["Step-Audio-EditX-AWQ-4bit"] == ("ok", "2 files, 0.0 GB")
    assert seen["Step-Audio-Tokenizer"][0] == "ok"
    assert seen["Step-Audio-EditX-bnb-4bit"] == ("warn", "models/Step-Audio-EditX-bnb-4bit is empty")
    pull = next(check["remedy"] for check in found["checks"] if check["name"] == "Step-Audio-EditX")
    assert pull == "run `git lfs pull` in models/Step-Audio-EditX"


def test_what_would_keep_it_from_serving(editx: CommandLine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = editx.json(
            "doctor", "--port", port, "--data-dir", "me.wav", "--default-variant", "bnb", "--no-zygote", code=1
        )
    assert not found["could_serve"]
    assert found["variant"] is None
    seen = checks(found)
    assert seen["port"] == ("fail", f"cannot listen on 127.0.0.1 port {port}: Address already in use")
    assert seen["data directory"] == ("fail", "me.wav cannot be written: Not a directory")
    assert seen["would serve"][0] == "fail"
    assert "the default variant is bnb: no weights" in seen["would serve"][1]
    assert seen["zygote"] == ("ok", "off by --no-zygote; workers start as fresh interpreters")


def test_a_port_that_an_editx_has_is_fine(editx: CommandLine, keyed: KeyedServer):
    found = editx.json("doctor", "--port", keyed.port)
    assert checks(found)["port"] == ("ok", f"an EditX is running at {keyed.url} already")
