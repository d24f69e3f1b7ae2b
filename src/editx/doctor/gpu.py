"""The NVIDIA driver and its GPUs, and whether the installed torch was built for them. Creates no CUDA context."""

from __future__ import annotations

import ast
import importlib.util
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from editx import remedies
from editx.container import ROOT, container
from editx.doctor.check import Check, gb

LEAST_CAPABILITY = {12: (5, 0), 13: (7, 5)}
"""The oldest GPUs that builds of torch for a major version of CUDA have code for."""
NVIDIA_VENDOR = "0x10de"
DISPLAY_CLASSES = ("0x0300", "0x0302")


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


@dataclass(frozen=True, slots=True)
class Card:
    """One GPU as the driver describes it; memory in bytes. `capability`: CUDA compute capability."""

    index: int
    name: str
    capability: tuple[int, int]
    total_bytes: int
    free_bytes: int

    def __str__(self) -> str:
        free = f"{gb(self.free_bytes)} of {gb(self.total_bytes)} free"
        return f"{self.index}: {self.name}, compute capability {_dotted(self.capability)}, {free}"


@dataclass(frozen=True, slots=True)
class Driver:
    """The driver, the newest CUDA it can run, and its GPUs. `silence`: why it says nothing, where it does not."""

    version: str = ""
    cuda: tuple[int, int] = (0, 0)
    cards: tuple[Card, ...] = ()
    silence: str = ""

    @property
    def largest(self) -> Card | None:
        return max(self.cards, key=lambda card: card.total_bytes, default=None)


def read_driver() -> Driver:
    """Ask the driver. Where there is none, or it fails, the answer says so."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as error:
        return Driver(silence=str(error))
    try:
        cuda = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        cards = tuple(_card(pynvml, index) for index in range(pynvml.nvmlDeviceGetCount()))
        return Driver(_text(pynvml.nvmlSystemGetDriverVersion()), (cuda // 1000, cuda % 1000 // 10), cards)
    except pynvml.NVMLError as error:  # a GPU that fell off the bus, or a driver that is being replaced
        return Driver(silence=str(error))
    finally:
        pynvml.nvmlShutdown()


def _card(nvml: Any, index: int) -> Card:
    handle = nvml.nvmlDeviceGetHandleByIndex(index)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    major, minor = nvml.nvmlDeviceGetCudaComputeCapability(handle)
    return Card(
        index, _text(nvml.nvmlDeviceGetName(handle)), (int(major), int(minor)), int(memory.total), int(memory.free)
    )  # fmt: skip


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value


def check_gpu(driver: Driver, device: str, root: Path = ROOT) -> Check:
    """What the driver says, against what `--device` asks for. `root`: where the file system begins."""
    cards = [asdict(card) for card in driver.cards]
    facts = {"driver": driver.version or None, "cuda": _dotted(driver.cuda) if cards else None, "gpus": cards}
    if driver.cards:
        return _seen(driver, device, facts)
    silence = driver.silence or f"driver {driver.version} sees no GPU"
    if has_nvidia_card(root):
        remedy = "start the container with --gpus all" if container(root) else "install or reload the NVIDIA driver"
        return Check("gpu", "warn", f"an NVIDIA GPU is in this machine, but cannot be used: {silence}", remedy, facts)
    if device.startswith("cuda"):
        return Check("gpu", "warn", f"none ({silence}); --device is {device}", "use --device auto or cpu", facts)
    return Check("gpu", "ok", f"none ({silence}); the preview engine needs none", facts=facts)


def _seen(driver: Driver, device: str, facts: dict[str, Any]) -> Check:
    detail = f"driver {driver.version}, CUDA {_dotted(driver.cuda)}; {'; '.join(map(str, driver.cards))}"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None and visible.strip() in ("", "-1"):
        remedy = "unset CUDA_VISIBLE_DEVICES"
        return Check("gpu", "warn", f"{detail}; CUDA_VISIBLE_DEVICES={visible} hides them", remedy, facts)
    index = int(device.partition(":")[2] or 0) if device.startswith("cuda") else 0
    if index >= len(driver.cards):
        return Check("gpu", "warn", f"{detail}; --device is {device}", "choose one of these with --device", facts)
    return Check("gpu", "ok", detail if visible is None else f"{detail}; visible: {visible}", facts=facts)


def has_nvidia_card(root: Path = ROOT) -> bool:
    """Whether the PCI bus has a display controller of NVIDIA's; Linux only, False elsewhere."""
    for device in (root / "sys/bus/pci/devices").glob("*"):
        try:
            vendor, kind = (device / "vendor").read_text().strip(), (device / "class").read_text().strip()
        except OSError:
            continue
        if vendor == NVIDIA_VENDOR and kind.startswith(DISPLAY_CLASSES):
            return True
    return False


@dataclass(frozen=True, slots=True)
class Torch:
    """An installed torch. `cuda`: the version it was built for, None for a build without."""

    version: str
    cuda: tuple[int, int] | None


def installed_torch() -> Torch | None:
    """Read from its files, so that it need not be imported; None where there is none."""
    found = importlib.util.find_spec("torch")
    if found is None or found.origin is None:
        return None
    values: dict[str, Any] = {}
    for node in ast.parse((Path(found.origin).parent / "version.py").read_text()).body:
        target = node.targets[0] if isinstance(node, ast.Assign) else getattr(node, "target", None)
        if isinstance(target, ast.Name) and isinstance(value := getattr(node, "value", None), ast.Constant):
            values[target.id] = value.value
    major, _, minor = (values.get("cuda") or "").partition(".")
    return Torch(str(values.get("__version__")), (int(major), int(minor or 0)) if major else None)


def check_torch(torch: Torch | None, driver: Driver) -> Check:
    """Whether this torch can use these GPUs: by its build, the driver and their compute capability."""
    name = "torch"
    if torch is None:
        return Check(name, "warn", "not installed; the native engine needs it", remedies.install("step"))
    facts = {"version": torch.version, "cuda": torch.cuda and _dotted(torch.cuda)}
    if torch.cuda is None:
        if driver.cards:
            remedy = f"install a build of torch for CUDA {_dotted(driver.cuda)} or older"
            return Check(name, "warn", f"{torch.version}, built without CUDA: the GPU is not used", remedy, facts)
        return Check(name, "ok", f"{torch.version}, built without CUDA; no GPU was found either", facts=facts)
    built = f"{torch.version}, built for CUDA {_dotted(torch.cuda)}"
    if not driver.cards:
        return Check(name, "ok", f"{built}; it will use the CPU", facts=facts)
    # Within a major version CUDA programs run on every driver of that version.
    if driver.cuda[0] < torch.cuda[0]:
        return Check(
            name, "warn", f"{built}; driver {driver.version} runs CUDA up to {_dotted(driver.cuda)}",
            f"update the driver, or install a build of torch for CUDA {driver.cuda[0]}", facts,
        )  # fmt: skip
    least = LEAST_CAPABILITY.get(torch.cuda[0], (0, 0))
    if all(card.capability < least for card in driver.cards):
        return Check(
            name, "warn", f"{built}, which needs compute capability {_dotted(least)}",
            "use a newer GPU, or --device cpu", facts,
        )  # fmt: skip
    return Check(name, "ok", built, facts=facts)
