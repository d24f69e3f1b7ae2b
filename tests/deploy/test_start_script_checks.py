"""What the start script says where something is not as it should be, and that it then changes nothing.

There is no container engine and no GPU on the machine this is built on: recording stand-ins take their places here.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from editx.doctor.gpu import LEAST_CAPABILITY
from editx.engines import layout
from editx.engines.catalog import catalog
from editx.settings import Settings
from tests.deploy.machine import NAME, ROOT, Machine, write_variant


def refused(machine: Machine, *flags: str, **settings: object) -> str:
    """What the script says when it starts nothing."""
    done = machine.start(*flags, **settings)
    assert done.returncode == 1, done.stdout
    assert machine.commands() == []
    assert "nothing was started: see the lines marked fail" in done.stdout
    return done.stdout


def test_no_engine(machine: Machine) -> None:
    machine.remove("docker")
    shown = refused(machine)
    assert "fail engine      docker is not installed" in shown
    assert "→ install Docker Engine" in shown


def test_the_engine_that_was_asked_for_is_not_there(machine: Machine) -> None:
    assert "podman is not installed" in refused(machine, CONTAINER_ENGINE="podman")


@pytest.mark.parametrize(("said", "expected"), [
    ("Cannot connect to the Docker daemon at unix:///var/run/docker.sock. Is the docker daemon running?",
     "→ start it: sudo systemctl start docker"),
    ("permission denied while trying to connect to the Docker daemon socket", '→ sudo usermod -aG docker "$USER"'),
])  # fmt: skip
def test_an_engine_that_does_not_answer(machine: Machine, said: str, expected: str) -> None:
    machine.answer("version.fails", said)
    assert expected in refused(machine)


def test_docker_by_name_and_podman_by_nature(machine: Machine) -> None:
    machine.answer("is_podman", "")
    shown = refused(machine)
    assert "fail runtime     podman knows of no GPU" in shown
    assert "sudo nvidia-ctk cdi generate --output=/etc/cdi/nvidia.yaml" in shown


def test_no_nvidia_runtime(machine: Machine) -> None:
    machine.answer("runtimes.json", json.dumps(["runc"]))
    shown = refused(machine)
    assert "fail runtime     docker has no NVIDIA runtime" in shown
    assert "sudo nvidia-ctk runtime configure --runtime=docker" in shown


def test_a_toolkit_that_docker_finds_by_itself_will_do(machine: Machine) -> None:
    machine.answer("runtimes.json", json.dumps(["runc"]))
    machine.install("nvidia-container-runtime-hook", "nvidia-ctk")
    assert machine.start("--dry-run").returncode == 0


@pytest.mark.parametrize("image", ["editx:latest", "editx:cpu"])
def test_no_image(machine: Machine, image: str) -> None:
    """What it says to build is what the Dockerfile says itself."""
    machine.answer("images.json", "{}")
    shown = refused(machine, *(["--cpu"] if image == "editx:cpu" else []))
    assert f"fail image       there is no image {image}" in shown
    command = re.search(r"docker build (.*) \.$", shown, re.MULTILINE)
    assert command
    dockerfile = (ROOT / "deploy" / "Dockerfile").read_text("utf-8")
    assert any(set(command[1].split()) <= set(line.split()) for line in dockerfile.splitlines()), command[0]


def test_no_driver(machine: Machine) -> None:
    machine.remove("nvidia-smi")
    shown = refused(machine)
    assert "fail gpu         nvidia-smi is not there" in shown
    assert "or run without a GPU: --cpu" in shown


def test_a_driver_that_fails(machine: Machine) -> None:
    machine.answer("nvidia-smi.fails", "")
    machine.answer("gpus", "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver.\n")
    assert "nvidia-smi shows no GPU: NVIDIA-SMI has failed" in refused(machine)


def test_a_gpu_that_is_not_there(machine: Machine) -> None:
    shown = refused(machine, GPU_ID=7)
    assert "there is no GPU 7; there are: 0 1" in shown
    assert "→ set GPU_ID" in shown


def test_a_gpu_in_use_is_warned_about_and_its_users_are_named(machine: Machine) -> None:
    """Only warned about: the model is loaded when it is asked for, and the memory may be free by then."""
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564, 6000, 580.65.06, 8.9\n")
    machine.answer("gpu_users", "4711, /usr/bin/python3, 17000 MiB\n4712, llama-server, 1000 MiB\n")
    done = machine.start()
    assert done.returncode == 0
    assert (
        "warn gpu         0: NVIDIA GeForce RTX 4090 has 6.2 GB of 25.7 GB free; base takes about 14.0 GB"
        in done.stdout
    )
    assert "(held by: 4711, /usr/bin/python3, 17000 MiB; 4712, llama-server, 1000 MiB)" in done.stdout
    assert "awq needs less: mkdir -p" in done.stdout


def test_a_gpu_that_holds_some_variants_only(machine: Machine) -> None:
    """At this moment, or for good: the server sets aside no more than 90 % of the GPU's memory."""
    write_variant(machine.models, "awq")
    small = machine.start("--dry-run", GPU_ID=1)
    assert small.returncode == 0
    assert "ok   gpu         1: NVIDIA GeForce RTX 3060" in small.stdout
    assert "→ too small for base (about 14.0 GB): EditX uses 11.5 GB of it. Choose a larger GPU" in small.stdout
    assert "at this moment" not in small.stdout
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA GeForce RTX 4090, 24564, 12000, 580.65.06, 8.9\n")
    full = machine.start("--dry-run")
    assert "→ not for every variant at this moment: base takes about 14.0 GB" in full.stdout
    assert "too small" not in full.stdout


def test_a_gpu_that_will_never_hold_what_is_here(machine: Machine) -> None:
    """Nothing is promised then, and the smaller variants are offered where they would fit."""
    done = machine.start("--dry-run", GPU_ID=1)
    assert done.returncode == 0
    assert "warn gpu         1: NVIDIA GeForce RTX 3060 has 12.8 GB in all, too little for every" in done.stdout
    assert "the preview engine answers" in done.stdout
    assert "→ too small for base (about 14.0 GB)" in done.stdout
    assert "by then free memory" not in done.stdout
    assert "awq needs less: mkdir -p" in done.stdout
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA T400, 4096, 4000, 580.65.06, 7.5\n")
    smaller = machine.start("--dry-run").stdout
    assert "NVIDIA T400 has 4.2 GB in all" in smaller
    assert "awq needs less" not in smaller


@pytest.mark.parametrize(("budget", "fits"), [
    ("14GB", True), ("14 gb", True), ("13.1GiB", True), ("14000000000", True), ("13.9GB", False), ("12GiB", False),
])  # fmt: skip
def test_a_budget_that_is_set_counts_in_place_of_the_share(machine: Machine, budget: str, fits: bool) -> None:
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA RTX 4000, 14305, 14305, 580.65.06, 8.9\n")  # 15 GB
    shown = machine.start("--dry-run", EDITX_GPU_MEMORY_BUDGET=budget).stdout
    assert ("too small for base" not in shown) == fits
    assert Settings(gpu_memory_budget=budget).gpu_memory_budget >= 14e9 or not fits  # type: ignore[operator]


OLD_DRIVER = "0, GPU-aaaa, NVIDIA L4, 23034, 22000, 535.183.01, 8.9\n"
OLD_GPU = "0, GPU-aaaa, Tesla V100-SXM2-16GB, 16384, 16000, 580.65.06, 7.0\n"
OLDER_DRIVER = 'Field "compute_cap" is not a valid field to query.\n'


@pytest.mark.parametrize(("gpus", "said", "remedy"), [
    (OLD_DRIVER, "NVIDIA L4 has driver 535.183.01, older than 580", "update the driver; NVIDIA's own packages"),
    (OLD_GPU, "Tesla V100-SXM2-16GB has compute capability 7.0, less than 7.5", "choose a newer GPU with GPU_ID"),
    (OLDER_DRIVER, "its driver is older than 580", "update the driver; NVIDIA's own packages"),
])  # fmt: skip
def test_a_gpu_that_the_image_cannot_use(machine: Machine, gpus: str, said: str, remedy: str) -> None:
    """Only warned about where the image is one's own, which may hold another PyTorch."""
    machine.answer("gpus", gpus)
    if gpus == OLDER_DRIVER:
        machine.answer("nvidia-smi.fails", "")
    shown = refused(machine)
    assert f"fail gpu         {said}: PyTorch for CUDA 13, as in editx:latest, does not run on it" in shown
    assert f"→ {remedy}" in shown
    assert "→ or run without a GPU: --cpu" in shown
    machine.answer("images.json", json.dumps({"mine:cuda12": "sha256:dddd"}))
    own = machine.start(IMAGE="mine:cuda12")
    assert own.returncode == 0, own.stdout
    assert f"warn gpu         {said}" in own.stdout


def test_a_newer_gpu_is_not_taken_for_an_old_one(machine: Machine) -> None:
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA B200, 183359, 180000, 1000.1, 10.0\n")
    assert "ok   gpu         0: NVIDIA B200" in machine.start("--dry-run").stdout


def test_the_script_and_doctor_ask_the_same_of_a_gpu() -> None:
    """And both what the pinned build of PyTorch needs."""
    script = (ROOT / "deploy" / "start" / "machine.sh").read_text("utf-8")
    major, minor = LEAST_CAPABILITY[13]
    assert f"LEAST_CAPABILITY={major}.{minor}" in script
    assert "torch==2.13.0" in (ROOT / "constraints.txt").read_text("utf-8")


def test_a_gpu_that_does_not_tell_its_memory(machine: Machine) -> None:
    machine.answer("gpus", "0, GPU-aaaa, NVIDIA GB10, [N/A], [N/A], 580.65.06, 12.1\n")
    done = machine.start()
    assert done.returncode == 0
    assert "NVIDIA GB10, which does not tell its memory" in done.stdout


def test_the_script_and_the_server_believe_the_same_of_variants() -> None:
    parts = (ROOT / "deploy" / "start" / "models.sh").read_text("utf-8")
    needed = dict(re.findall(r'\["(\w+)"\]=(\d+)', parts))
    directories = dict(re.findall(r'\["(\w+)"\]=(Step-[\w-]+)', parts))
    assert directories == layout.WEIGHT_DIRECTORIES
    assert {name: int(megabytes) * 10**6 for name, megabytes in needed.items()} == {
        spec.name: spec.memory_bytes for spec in catalog(Path("nowhere")) if spec.uses_gpu
    }


def test_no_models(machine: Machine) -> None:
    shutil.rmtree(machine.models)
    shown = refused(machine)
    assert f"fail models      there is no directory {machine.models}" in shown
    assert f"--volume {machine.models}:/models editx:latest pull --variant base" in shown
    assert "or try the preview engine, which needs none, with --cpu" in shown


def test_podman_fetches_them_as_the_user_who_asks(machine: Machine) -> None:
    """Its users have other numbers inside, unless they are kept; root's podman knows no such thing."""
    shutil.rmtree(machine.models)
    machine.remove("docker")
    machine.install("podman", "engine")
    machine.install("nvidia-ctk", "nvidia-ctk")
    machine.answer("cdi", "nvidia.com/gpu=0\n")
    kept = " --userns=keep-id" if os.geteuid() else ""
    flags = f'--rm --security-opt label=disable{kept} --user "$(id -u):$(id -g)"'
    assert f"podman run {flags} --volume {machine.models}:/models editx:latest pull" in refused(machine)


def test_an_empty_models_directory(machine: Machine) -> None:
    shutil.rmtree(machine.models / "Step-Audio-EditX")
    assert f"{machine.models} holds no complete variant" in refused(machine)


def test_the_preview_engine_needs_no_models(machine: Machine) -> None:
    shutil.rmtree(machine.models)
    done = machine.start("--cpu")
    assert done.returncode == 0, done.stdout
    assert "the preview engine answers" in done.stdout
    assert not any("dst=/models" in argument for argument in machine.command())


def test_which_variants_are_there(machine: Machine) -> None:
    write_variant(machine.models, "bnb")
    assert layout.problems_of(machine.models, "bnb") == []
    assert f"ok   models      in {machine.models}: base bnb\n" in machine.start("--dry-run").stdout


WANTED = (
    *(f"Step-Audio-EditX/{name}" for name in (*layout.MODEL_FILES, "model-00001.safetensors")),
    *(f"Step-Audio-EditX/{layout.DECODER_DIRECTORY}/{name}" for name in layout.DECODER_FILES),
    *(f"{layout.TOKENIZER_DIRECTORY}/{name}" for name in layout.TOKENIZER_FILES),
    *(f"{layout.TOKENIZER_DIRECTORY}/{layout.PARAFORMER_DIRECTORY}/{name}" for name in layout.PARAFORMER_FILES),
)


@pytest.mark.parametrize("name", WANTED)
def test_a_missing_file_is_named(machine: Machine, name: str) -> None:
    """Whatever the server would find missing."""
    (machine.models / name).unlink()
    shown = refused(machine, "--dry-run")
    found = re.search(r"warn models      base is left out: (\S+) is missing or empty", shown)
    assert found
    assert found[1].rpartition("/")[2] == name.rpartition("/")[2]
    assert "pull --variant base" in shown
    assert layout.problems_of(machine.models, "base") != []


@pytest.mark.parametrize(
    "name", ["Step-Audio-EditX/model-00002.safetensors", f"{layout.TOKENIZER_DIRECTORY}/speech_tokenizer_v1.onnx"]
)
def test_a_pointer_is_not_a_model(machine: Machine, name: str) -> None:
    pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 7000000000\n"
    (machine.models / name).write_text(pointer)
    shown = refused(machine)
    assert f"{machine.models / name} is a git-LFS pointer, not the file itself" in shown
    assert "pull --variant base" in shown


def test_an_incomplete_variant_beside_a_complete_one_is_left_out(machine: Machine) -> None:
    (write_variant(machine.models, "awq") / "config.json").write_text("")
    done = machine.start()
    assert done.returncode == 0
    assert "warn models      awq is left out" in done.stdout
    assert f"ok   models      in {machine.models}: base\n" in done.stdout


def test_a_link_to_the_outside_would_lead_nowhere(machine: Machine) -> None:
    """Hubs' caches are made of such links, and whole directories are often linked to another disk."""
    file = machine.models / "Step-Audio-EditX" / "config.json"
    file.rename(machine.root / "blob")
    file.symlink_to(machine.root / "blob")
    assert f"{file} is a link to a place outside models/" in refused(machine)
    file.unlink()
    directory = machine.models / "Step-Audio-EditX"
    (machine.root / "blob").rename(file)
    directory.rename(machine.root / "elsewhere")
    directory.symlink_to(machine.root / "elsewhere")
    assert f"{directory} is a link to a place outside models/" in refused(machine)


def test_links_within_models_are_followed(machine: Machine) -> None:
    directory = machine.models / "Step-Audio-EditX"
    directory.rename(machine.models / "here")
    directory.symlink_to("here")
    assert machine.start("--dry-run").returncode == 0


def test_models_may_be_a_link_itself(machine: Machine) -> None:
    machine.models.rename(machine.root / "disk")
    machine.models.symlink_to(machine.root / "disk")
    assert machine.start().returncode == 0
    assert f"type=bind,src={machine.root / 'disk'},dst=/models,readonly" in machine.command()


@pytest.mark.parametrize(
    ("name", "mode"), [("Step-Audio-EditX/config.json", 0o600), ("Step-Audio-Tokenizer", 0o700), (".", 0o700)]
)
def test_files_that_only_their_owner_can_read(machine: Machine, name: str, mode: int) -> None:
    (machine.models / name).chmod(mode)
    shown = refused(machine)
    assert "cannot be read by the container's own user" in shown
    assert f"→ chmod -R o+rX {machine.models}" in shown


def test_a_path_that_the_engine_cannot_take(machine: Machine) -> None:
    machine.project.rename(machine.root / "a,b")
    machine.project = machine.root / "a,b"
    assert "the engine takes no path with a comma" in refused(machine)


def test_a_port_that_a_process_holds(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", machine.port)):
        shown = refused(machine)
    comm = Path("/proc/self/comm").read_text().strip()
    assert f"fail port        {machine.port} on 127.0.0.1 is taken by process {os.getpid()} ({comm})" in shown
    assert "→ stop that, or choose another PORT" in shown


def test_a_port_that_another_container_holds(machine: Machine) -> None:
    other = {"status": "running", "label": "", "restarts": 0, "ports": f"127.0.0.1:{machine.port}->80/tcp"}
    machine.answer("containers.json", json.dumps({"webui": other}))
    with socket.create_server(("127.0.0.1", machine.port)):
        assert f"{machine.port} on 127.0.0.1 is taken by container webui" in refused(machine, "--replace")


def test_a_port_is_looked_at_where_it_will_be_opened(machine: Machine) -> None:
    with socket.create_server(("127.0.0.3", machine.port)):
        assert f"{machine.port} on 127.0.0.3 is taken" in refused(machine, BIND="127.0.0.3")
        assert machine.start("--dry-run").returncode == 0


def test_ipv6(machine: Machine) -> None:
    shown = machine.start("--dry-run", BIND="::1")
    assert shown.returncode == 0
    assert f"--publish \\[::1\\]:{machine.port}:7860" in shown.stdout
    with socket.create_server(("::1", machine.port), family=socket.AF_INET6):
        assert f"{machine.port} on ::1 is taken by process {os.getpid()}" in refused(machine, BIND="::1")


def test_everything_is_said_at_once(machine: Machine) -> None:
    shutil.rmtree(machine.models)
    machine.answer("images.json", "{}")
    machine.answer("runtimes.json", "[]")
    shown = refused(machine, GPU_ID=5)
    assert re.findall(r"^fail (\w+)", shown, re.MULTILINE) == ["image", "models", "runtime", "gpu"]


def test_open_to_others_without_a_key_is_warned_about(machine: Machine) -> None:
    shown = machine.start("--dry-run", BIND="0.0.0.0").stdout
    assert "warn access      0.0.0.0 lets other machines in, and no key is asked of them" in shown
    assert "warn access" not in machine.start("--dry-run", BIND="0.0.0.0", EDITX_API_KEY="a-key").stdout


def test_open_to_others_it_is_asked_on_loopback(machine: Machine) -> None:
    done = machine.start(BIND="0.0.0.0")
    assert done.returncode == 0, done.stdout
    assert f"--publish 0.0.0.0:{machine.port}:7860" in " ".join(machine.command())
    assert f"page           http://127.0.0.1:{machine.port}/" in done.stdout
    assert f"Other machines reach it at http://{os.uname().nodename}:{machine.port}/" in done.stdout


def test_the_health_check_tells_a_server_that_answers(machine: Machine) -> None:
    """The program that the container's health check runs, against what plays the container."""
    assert machine.start().returncode == 0
    assert machine.containers[NAME]["status"] == "running"
    check = [sys.executable, str(ROOT / "deploy" / "health.py")]
    environment = {"EDITX_PORT": str(machine.port)}
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 0
    machine.kill_container()
    assert subprocess.run(check, env=environment, capture_output=True, check=False).returncode == 1
