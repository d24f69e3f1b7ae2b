"""Where the native engine runs, and in which precision: the policy of the whole engine is stated here.

| part | CUDA | MPS | CPU |
|---|---|---|---|
| language model | bfloat16 | bfloat16 | float32 |
| flow | bfloat16 (`decoder.precision`) | float32 | float32 |
| vocoder, tokenizers, speaker embedding, mel | float32 | float32 | float32 |

Quantised variants keep their weights packed and compute in the language model's type. Rounding flips codes, so the
tokenizers never leave float32 (spec 30).
"""

from __future__ import annotations

import torch

from editx.errors import LoadFailed


def resolve(name: str) -> torch.device:
    """The device a setting means: `auto`, `cpu`, `mps`, `cuda` or `cuda:n`.

    Asking whether CUDA is there touches the driver, so only workers call this. Raises LoadFailed, with the remedy, for
    a device that is not here.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise LoadFailed(f"there is no device {name}: torch sees {count} GPUs; choose another with --device")
        return torch.device("cuda", device.index or 0)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise LoadFailed("there is no device mps here; choose another with --device")
    return device


def language_model_dtype(device: torch.device) -> torch.dtype:
    """The type the language model computes in on `device`."""
    return torch.float32 if device.type == "cpu" else torch.bfloat16
