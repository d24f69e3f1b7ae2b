"""What a native variant takes of disk and memory, going by its files, or by those published where it has none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from editx.engines.layout import ModelFiles
from editx.engines.step.lm.config import LanguageModelConfig, Quantization
from editx.engines.step.text.limits import MAX_TOKENS

WORKING_BYTES = 10**9
"""What a CUDA context, cuBLAS and the work in progress take: an allowance, not a measurement."""
HALF, SINGLE = 2, 4
Device = Literal["cuda", "mps", "cpu"]
"""Where a model would run."""

_LANGUAGE_MODEL = {"base": 7_059_412_992, "awq": 2_502_127_032, "bnb": 2_600_000_000}
_DECODER_AND_SPEAKER = 615_274_252 + 117_228_443 + 28_303_423
_TOKENIZERS = 881_120_125 + 522_516_480
"""Sizes of the published files in bytes (spec 10 §1 and §8, 30 §1); that of `bnb` follows from its layout."""
_QUANTIZATION = {"base": None, "awq": Quantization("int4"), "bnb": Quantization("nf4", group_size=64)}


@dataclass(frozen=True, slots=True)
class Need:
    """Bytes on disk and in the device's memory, and how that is known."""

    disk_bytes: int
    memory_bytes: int
    source: Literal["its files", "published sizes"]


def need_of_files(files: ModelFiles, max_batch: int, device: Device) -> Need:
    """By the sizes of the files that are there. Raises LoadFailed when `config.json` does not fit the model."""
    config = LanguageModelConfig.read(files.config)
    weights = sum(path.stat().st_size for path in files.weights)
    parts = (files.flow, files.vocoder, files.speaker, files.centroids, files.semantic, files.linguistic)
    others = sum(path.stat().st_size for path in parts)
    small = (files.config, files.text_tokenizer, files.decoder_config, files.linguistic_config, files.linguistic_cmvn)
    disk = weights + others + sum(path.stat().st_size for path in small)
    return Need(disk, _memory(config, weights, others, max_batch, device), "its files")


def need_as_published(variant: str, max_batch: int, device: Device) -> Need:
    """By the sizes of the published files, for a variant that is not here or not whole."""
    weights, others = _LANGUAGE_MODEL[variant], _DECODER_AND_SPEAKER + _TOKENIZERS
    config = LanguageModelConfig(quantization=_QUANTIZATION[variant])
    memory = _memory(config, weights, others, max_batch, device)
    return Need(weights + others, memory, "published sizes")


def _memory(config: LanguageModelConfig, weights: int, others: int, max_batch: int, device: Device) -> int:
    """Weights, keys and values of the whole batch, and the other parts, by the policy of `engines/step/devices.py`."""
    as_stored = config.quantization is not None and (device == "cuda" or (device, config.int4_on_cpu) == ("cpu", True))
    width = SINGLE if device == "cpu" and not as_stored else HALF
    context = config.layers * 2 * config.kv_size * MAX_TOKENS * max_batch * width
    return (weights if as_stored else config.weights * width) + context + others + WORKING_BYTES
