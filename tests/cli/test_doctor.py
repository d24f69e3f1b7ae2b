"""`editx doctor`: what would work, what would not, and why."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.cli.running import CommandLine

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 5000000000\n"
NAMES = [
    "python", "settings", "clock", "container", "port", "data directory", "temporary files", "zygote", "decoder",
    "preview engine", "native engine", "gpu", "torch", "weights base", "weights awq", "weights bnb", "memory",
    "would serve",
]  # fmt: skip


def checks(found: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The checks by name; what holds of every report is asserted on the way."""
    assert [check["name"] for check in found["checks"]] == NAMES
    for check in found["checks"]:
        assert check.keys() == {"name", "status", "detail", "remedy", "facts"}
        assert bool(check["remedy"]) == (check["status"] != "ok"), check
        assert "\n" not in check["remedy"] + check["detail"], check
    return {check["name"]: check for check in found["checks"]}


def test_a_machine_without_gpu_and_weights_could_serve(editx: CommandLine):
    found = editx.json("doctor", "--port", 0, "--host", "0.0.0.0")
    assert found.keys() == {"could_serve", "variant", "version", "checks", "settings"}
    assert found["could_serve"]
    assert found["variant"] == "lite"
    seen = checks(found)
    for name in ("python", "clock", "container", "port", "zygote", "decoder", "preview engine", "would serve"):
        assert seen[name]["status"] == "ok", seen[name]
    assert seen["decoder"]["detail"].startswith("decodes mp3, flac, opus")
    assert "espeak-ng speaks" in seen["preview engine"]["detail"]
    assert seen["settings"]["detail"] == "from EDITX_DATA_DIR"
    assert seen["memory"]["facts"]["available_bytes"] > 0
    for variant, least in (("base", 9e9), ("awq", 4e9), ("bnb", 4.5e9)):
        check = seen[f"weights {variant}"]
        assert check["status"] == "warn"
        remedy = f"fetch them with `editx pull --variant {variant} --model-path models`"
        made = (
            "; if they are not to be had, make them of those of base: `editx pull --variant base`, "
            f"then `editx quantize {variant}`"
        )
        assert check["remedy"] == remedy + (made if variant != "base" else "")
        assert check["facts"]["state"] == "absent"
        assert check["facts"]["source"] == "published sizes"
        assert least < check["facts"]["disk_bytes"] < check["facts"]["memory_bytes"] < 5 * least


def test_what_the_command_prints_is_what_it_would_say_as_json(editx: CommandLine, native_root: Path):
    shown = editx("doctor", "--port", 0, "--model-path", native_root, EDITX_IDEL_TIMEOUT="3").stdout.decode()
    lines = re.findall(r"^(ok  |warn|fail) (.{15})  (.+)$", shown, re.MULTILINE)
    assert [name.rstrip() for _, name, _ in lines] == NAMES
    said = {name.rstrip(): (status.rstrip(), detail) for status, name, detail in lines}
    assert len(re.findall(r"^ +→ .+$", shown, re.MULTILINE)) == sum(status != "ok" for status, _ in said.values())
    assert said["settings"] == ("warn", "there is no setting EDITX_IDEL_TIMEOUT")
    assert "→ rename EDITX_IDEL_TIMEOUT to EDITX_IDLE_TIMEOUT" in shown
    for variant in ("base", "awq", "bnb"):
        assert said[f"weights {variant}"][0] == "ok"
        assert re.fullmatch(r"complete, .* GB on disk; takes about .* \(by its files\)", said[f"weights {variant}"][1])
    assert said["would serve"] == ("ok", "base: Step-Audio-EditX, bfloat16")
    assert shown.endswith("EditX would serve here, with the variant base.\n")


def test_what_would_keep_it_from_serving(editx: CommandLine):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        found = editx.json(
            "doctor", "--port", port, "--data-dir", "me.wav", "--default-variant", "bnb", "--no-zygote", code=1,
            TMPDIR=str(editx.folder / "me.wav"),
        )  # fmt: skip
    assert not found["could_serve"]
    assert found["variant"] is None
    seen = checks(found)
    assert seen["port"]["status"] == "fail"
    holder = seen["port"]["facts"]["holder"]
    assert holder.endswith(f"(process {os.getpid()})")
    said = f"cannot listen on 127.0.0.1 port {port}: Address already in use; {holder} has it"
    assert seen["port"]["detail"] == said
    assert seen["data directory"]["status"] == "fail"
    assert seen["data directory"]["detail"] == "me.wav cannot be written: Not a directory"
    assert seen["temporary files"]["status"] == "warn"
    assert "me.wav cannot be written" in seen["temporary files"]["detail"]
    assert seen["would serve"]["status"] == "fail"
    assert "the default variant is bnb: no weights" in seen["would serve"]["detail"]
    assert seen["zygote"]["detail"] == "off by --no-zygote; workers start as fresh interpreters"


def test_weights_that_are_not_whole_are_told_from_weights(editx: CommandLine, native_root: Path):
    models = editx.folder / "models"
    shutil.copytree(native_root, models)
    base, awq = models / "Step-Audio-EditX", models / "Step-Audio-EditX-AWQ-4bit"
    (base / "CosyVoice-300M-25Hz" / "flow.pt").write_bytes(POINTER)
    (awq / "model.safetensors").unlink(missing_ok=True)
    shards = {"one": "model-00001-of-00002.safetensors", "two": "model-00002-of-00002.safetensors"}
    (awq / "model.safetensors.index.json").write_text(json.dumps({"weight_map": shards}))
    budget = ("--gpu-memory-budget", "1GB")
    found = editx.json("doctor", "--port", 0, *budget)
    seen = checks(found)
    pointer, missing, whole = (seen[f"weights {name}"] for name in ("base", "awq", "bnb"))
    assert "flow.pt is a git-LFS pointer, not the file itself" in pointer["detail"]
    assert pointer["facts"]["state"] == missing["facts"]["state"] == "incomplete"
    for shard in shards.values():
        assert f"{shard} is missing" in missing["detail"]
    assert whole["facts"]["state"] == "complete"
    assert whole["remedy"] == "raise --gpu-memory-budget, or use a smaller variant"
    # The first variant that is whole and has room answers by default; one that is named must have it.
    assert found["variant"] == "lite"
    clone = ("clone", "hello", "--out", "out.wav", "--voice", "alloy", *budget)
    assert b"variant lite" in editx(*clone).stdout
    named = editx.json("doctor", "--port", 0, *budget, "--default-variant", "bnb", code=1)
    assert checks(named)["would serve"]["status"] == "fail"
    refused = editx.error(*clone, "--force", "--variant", "bnb", code=6)
    assert "bnb is believed to take" in refused


def test_files_are_compared_with_what_was_recorded_of_them(editx: CommandLine, models: Path):
    editx("quantize", "bnb", "--model-path", "models")
    verify = ("doctor", "--port", 0, "--verify", "--json")

    def found(code: int = 0) -> dict[str, dict[str, Any]]:
        checks = json.loads(editx(*verify, code=code).stdout)["checks"]
        return {check["name"]: check for check in checks if check["name"].startswith("files ")}

    whole = found()
    assert list(whole) == ["files base", "files bnb", "files tokenizer"]
    assert {check["status"] for check in whole.values()} == {"ok"}
    flow = editx.folder / "models/Step-Audio-EditX/CosyVoice-300M-25Hz/flow.pt"
    os.utime(flow, (0, 0))  # only what is in it counts
    shard = editx.folder / "models/Step-Audio-EditX-bnb-4bit/model.safetensors"
    flip(shard)
    (shard.parent / "tokenizer_config.json").unlink()
    (shard.parent / "mine.txt").touch()
    differing = found()  # base would be served, and is whole
    assert differing["files base"]["status"] == "ok"
    assert differing["files bnb"]["status"] == "warn"
    assert differing["files bnb"]["facts"]["differing"] == {
        "model.safetensors": "has changed: its sha256 is not the recorded one", "tokenizer_config.json": "is missing",
    }  # fmt: skip
    assert differing["files bnb"]["facts"]["not_recorded"] == ["mine.txt"]
    assert f"{shard.relative_to(editx.folder)} has changed" in differing["files bnb"]["detail"]
    assert "editx pull" in differing["files bnb"]["remedy"]
    flip(editx.folder / "models/Step-Audio-Tokenizer/linguistic_tokenizer.npy")
    assert found(code=1)["files tokenizer"]["status"] == "fail"
    (editx.folder / "models/Step-Audio-Tokenizer/.editx-files.json").unlink()
    assert "is missing" in found()["files tokenizer"]["detail"]


def flip(path: Path) -> None:
    """Turn one bit of a file over."""
    data = bytearray(path.read_bytes())
    data[len(data) * 2 // 3] ^= 0x40
    path.unlink()  # it may be a hard link
    path.write_bytes(data)


def test_settings_that_do_not_fit_are_an_error_like_everywhere(editx: CommandLine):
    (editx.folder / "mine.toml").write_text('idle_timeout = "soon"\n')
    error = editx.json("doctor", "--config", "mine.toml", code=2)["error"]
    assert error["exit_code"] == 2
    assert "idle_timeout: Input should be a valid number" in error["message"]


def test_torch_is_not_imported_where_the_checks_run(editx: CommandLine, native_root: Path):
    code = (
        "import sys; from editx.cli.app import run; "
        "code = run(['doctor', '--port', '0', '--model-path', sys.argv[1]]); "
        "assert 'editx.doctor' in sys.modules and 'torch' not in sys.modules, 'torch'; sys.exit(code)"
    )
    command = [sys.executable, "-c", code, str(native_root)]
    done = subprocess.run(command, cwd=editx.folder, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
