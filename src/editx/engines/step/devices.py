"""Where the native engine runs, and in which precision: the policy of the whole engine is stated here.

| part | CUDA | MPS | CPU |
|---|---|---|---|
| language model, plain or NF4 | bfloat16 | bfloat16 | float32 |
| language model, int4 | bfloat16 | bfloat16 | bfloat16 where torch has a product for it, else float32 |
| flow | bfloat16 (`decoder.precision`) | float32 | float32 |
| vocoder, tokenizers, speaker embedding, mel | float32 | float32 | float32 |

What becomes of quantised weights, each of which computes in the language model's type:

| weights | CUDA | MPS | CPU |
|---|---|---|---|
| int4 (symmetric, of sizes that fit) | packed, torch's product | written out once | packed, torch's product |
| int4 that torch's product does not take | packed, written out in every call | written out once | written out once |
| NF4 | packed, a product of our own where Triton can build it | written out once | written out once |

Written out in every call, a matrix costs many times its product, and on a GPU saves the memory that such a variant is
chosen for; on the CPU and on MPS, where the model runs from main memory, `prepare` writes it out once instead
(`Switches.written_out`). Rounding flips codes, so the tokenizers never leave float32 (spec 30).
"""

from __future__ import annotations

import torch

from editx.engines.step.lm.config import LanguageModelConfig
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


def is_lost(error: BaseException) -> bool:
    """Whether `error` is one after which CUDA fails whatever this process asks, as an illegal access to memory is."""
    return isinstance(error, torch.AcceleratorError) and "out of memory" not in str(error)


def language_model_dtype(device: torch.device, config: LanguageModelConfig | None = None) -> torch.dtype:
    """The type the language model computes in on `device`; a plain one where no `config` is given."""
    if device.type != "cpu" or (config is not None and config.int4_on_cpu):
        return torch.bfloat16
    return torch.float32
