"""Makes the int4 and the NF4 checkpoint directory from the bf16 one, in the published layouts."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from editx.cancellation import Cancellation
from editx.engines.layout import WEIGHT_DIRECTORIES, WEIGHT_INDEX
from editx.engines.record import Record
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.int4 import dequantize
from editx.engines.step.lm.model import Step1
from editx.engines.step.lm.nf4 import Nf4Linear, Nf4State
from editx.engines.step.quantize_layout import (
    DEFAULT_GROUP,
    VARIANTS,
    is_quantized,
    quantized_config,
    quantized_specs,
    quantized_tensors,
)
from editx.engines.step.quantize_scales import Found, smooth_layer
from editx.engines.step.weights.header import StoredTensor, open_checkpoint
from editx.engines.step.weights.reader import Report
from editx.engines.step.weights.state import read_state
from editx.engines.step.weights.whole import whole_directory
from editx.engines.step.weights.writer import SafetensorsWriter, TensorSpec
from editx.errors import Conflict, InvalidRequest, LoadFailed, TooLarge, unwritable

Inputs = Callable[[Mapping[str, torch.Tensor]], Mapping[str, torch.Tensor]]
"""From a layer's bf16 weights, by key within the layer, to what its linears are fed on real prompts (see
`quantize_scales.smooth_layer`). Called once for each layer, from the first to the last."""

_LAYER = re.compile(r"model\.layers\.(\d+)\..+")
_MARGIN_BYTES = 100 * 10**6


@dataclass(frozen=True, slots=True)
class Quantized:
    """What was made. `error`: root mean square of the rounding errors over that of the weights.

    Where scales were looked for: `output_error`, how far the outputs of linears are off on the same measure on the
    prompts that were used, the mean over all; `plain_output_error`, how far they would be without scales.
    """

    directory: Path
    source_bytes: int
    bytes: int
    error: float
    output_error: float | None = None
    plain_output_error: float | None = None


def quantize(
    model_path: Path,
    variant: str,
    *,
    group: int = DEFAULT_GROUP,
    inputs: Callable[[], Inputs] | None = None,
    force: bool = False,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> Quantized:
    """Write the directory of `variant`, awq or bnb, beside the bf16 directory under `model_path`.

    Rounds to nearest. With `inputs`, called when all else has been checked, int4 weights get activation-aware scales
    first. All other files are shared with the bf16 directory where the file system has hard links, else copied. Holds
    one layer in memory; the directory appears when it is complete. Raises LoadFailed for a bf16 directory that is not
    whole, InvalidRequest for a group that does not fit and for inputs with NF4, Conflict where the directory exists,
    unless `force` replaces it, TooLarge for a full disk; Cancelled.
    """
    if variant not in VARIANTS:
        raise InvalidRequest(f"weights cannot be made for {variant!r}; choose {' or '.join(VARIANTS)}", param="VARIANT")
    if inputs and variant != "awq":
        raise InvalidRequest(
            f"recordings are of no use for {variant}, whose steps are fixed; they choose the scales of awq",
            param="--audio",
        )
    source, target = model_path / WEIGHT_DIRECTORIES["base"], model_path / WEIGHT_DIRECTORIES[variant]
    if target.exists() and not force:
        raise Conflict(f"{target} exists; replace it with --force", param="--force")
    config = _checked(source)
    tensors = open_checkpoint(source)
    _check_names(source, tensors)
    specs = [
        part
        for stored in tensors.values()
        for part in quantized_specs(TensorSpec(stored.name, torch.bfloat16, stored.shape), variant, group)
    ]
    _check_space(model_path, sum(spec.size for spec in specs))
    rounding = _Rounding(variant, group, inputs() if inputs else None)
    try:
        with whole_directory(target) as directory:
            changed = quantized_config(json.loads(config), variant, group)
            (directory / "config.json").write_text(json.dumps(changed, indent=2) + "\n", "utf-8")
            weights = {stored.path.name for stored in tensors.values()} | {"config.json", WEIGHT_INDEX}
            _share(source, directory, weights)
            with SafetensorsWriter(directory / "model.safetensors", specs, {"format": "pt"}) as writer:
                rounding.write_all(writer, tensors, report, cancellation)
            Record(directory).add_all(like=Record(source))
    except OSError as error:
        raise unwritable(f"cannot write {target}", error, param="--model-path") from error
    before, after = (sum(part.size for part in parts) for parts in (tensors.values(), specs))
    outputs = [_mean([getattr(found, name) for found in rounding.found]) for name in ("error", "plain_error")]
    return Quantized(target, before, after, rounding.error, *outputs)


class _Rounding:
    """Rounds layers and adds up how far off they are."""

    def __init__(self, variant: str, group: int, inputs: Inputs | None) -> None:
        self._variant, self._group, self._inputs = variant, group, inputs
        self._off = self._power = 0.0
        self.found: list[Found] = []

    @property
    def error(self) -> float:
        return (self._off / self._power) ** 0.5 if self._power else 0.0

    def write_all(
        self,
        writer: SafetensorsWriter,
        tensors: Mapping[str, StoredTensor],
        report: Report | None,
        cancellation: Cancellation | None,
    ) -> None:
        done, total = 0, sum(stored.size for stored in tensors.values())
        tick = cancellation.raise_if_cancelled if cancellation else lambda: None
        for layer in _by_layer(tensors):
            tick()
            self._write(writer, layer, tick)
            done += sum(stored.size for stored in layer.values())
            if report:
                report(done, total)

    def _write(self, writer: SafetensorsWriter, layer: Mapping[str, StoredTensor], tick: Callable[[], None]) -> None:
        weights = {key: weight.to(torch.bfloat16) for key, weight in read_state(layer).items()}
        number = _layer_of(next(iter(layer)))
        if number is not None and self._inputs:
            prefix = f"model.layers.{number}."
            short = {key.removeprefix(prefix): weight for key, weight in weights.items()}
            smooth, found = smooth_layer(short, self._inputs(short), self._group, tick=tick)
            weights = {prefix + key: weight for key, weight in smooth.items()}
            self.found += found
        for key, weight in weights.items():
            parts = quantized_tensors(key, weight, self._variant, self._group)
            for name, part in parts.items():
                writer.write(name, part)
            if is_quantized(key):
                tick()
                difference = weight.float() - dequantized(key, parts, self._variant).float()
                self._off += float(difference.square().sum())
                self._power += float(weight.float().square().sum())


def _mean(values: Sequence[float]) -> float | None:
    return sum(values) / len(values) if values else None


def dequantized(key: str, parts: Mapping[str, torch.Tensor], variant: str) -> torch.Tensor:
    """The weight that the tensors of `quantized_tensors(key, …)` stand for, (out, in)."""
    if variant == "awq":
        return dequantize(parts[f"{key}_packed"], parts[f"{key}_scale"])
    state = Nf4State.parse(bytes(parts[f"{key}.quant_state.bitsandbytes__nf4"].tolist()), key)
    out, width = state.shape
    linear = Nf4Linear(width, out, device=torch.device("cpu"), dtype=state.dtype)
    linear.stated_dtype = state.dtype
    linear.load_state_dict({
        "packed": parts[key],
        "nested_offset": torch.tensor(state.nested_offset),
        **{name: parts[f"{key}.{name}"] for name in ("absmax", "nested_absmax", "nested_quant_map", "quant_map")},
    })  # fmt: skip
    return linear.dequantized()


def _checked(source: Path) -> str:
    """The text of the bf16 `config.json`."""
    if not source.is_dir():
        raise LoadFailed(f"{source} is missing; fetch it with `editx pull --variant base`")
    if LanguageModelConfig.read(source / "config.json").quantization:
        raise LoadFailed(f"{source} is quantised already; fetch the bf16 weights with `editx pull --variant base`")
    return (source / "config.json").read_text("utf-8")


def _check_names(source: Path, tensors: Mapping[str, StoredTensor]) -> None:
    """Make sure this is the bf16 model that its configuration describes, before a long work begins."""
    model = Step1(LanguageModelConfig.read(source / "config.json"), device="meta", dtype=torch.bfloat16)
    wanted = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    for name, shape in wanted.items():
        if name not in tensors or tensors[name].shape != shape:
            found = f"has the shape {tensors[name].shape}" if name in tensors else "is missing"
            raise LoadFailed(f"{name!r} of {source} {found}; {shape} is expected; fetch it again with `editx pull`")
    odd = next((name for name, stored in tensors.items() if not stored.dtype.is_floating_point), None)
    if odd or len(tensors) > len(wanted):
        odd = odd or next(name for name in tensors if name not in wanted)
        raise LoadFailed(f"{source} holds {odd!r}, which the bf16 model does not have")


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed + _MARGIN_BYTES:
        raise TooLarge(
            f"{folder} has {free / 1e9:.1f} GB free and {(needed + _MARGIN_BYTES) / 1e9:.1f} GB are needed",
            param="disk",
        )


def _by_layer(tensors: Mapping[str, StoredTensor]) -> Iterator[dict[str, StoredTensor]]:
    """The tensors of each layer together, in the order in which they compute, then all others one by one."""
    layers: dict[int, dict[str, StoredTensor]] = {}
    others = []
    for key, stored in tensors.items():
        number = _layer_of(key)
        if number is None:
            others.append({key: stored})
        else:
            layers.setdefault(number, {})[key] = stored
    yield from (layers[number] for number in sorted(layers))
    yield from others


def _layer_of(key: str) -> int | None:
    found = _LAYER.fullmatch(key)
    return int(found[1]) if found else None


def _share(source: Path, target: Path, without: set[str]) -> None:
    """Give `target` all other files of `source`, without a second copy where that is possible."""
    for path in sorted(source.rglob("*")):
        place = target / path.relative_to(source)
        if path.is_dir():
            place.mkdir(exist_ok=True)
        elif path.parent != source or (path.name not in without and not path.name.startswith(".")):
            try:
                os.link(path.resolve(), place)
            except OSError:
                shutil.copy2(path, place)
