"""Fills the language model from a checkpoint directory, whatever its weights are stored as (spec 10 §3, §6, §7)."""

from __future__ import annotations

import os
from pathlib import Path

from editx.cancellation import Cancellation
from editx.engines.step.lm.model import Step1, checkpoint_mapping
from editx.engines.step.lm.nf4 import Nf4Linear, Nf4State
from editx.engines.step.weights.header import AGAIN, StoredTensor, open_checkpoint
from editx.engines.step.weights.reader import DEFAULT_THREADS, Report, load_into
from editx.errors import LoadFailed

_STATE = ".weight.quant_state.bitsandbytes__nf4"
_USELESS = ("rotary_emb.inv_freq", "position_ids")
_LONGEST_STATE = 4096


def load_language_model(
    model: Step1,
    directory: Path,
    *,
    threads: int = DEFAULT_THREADS,
    report: Report | None = None,
    cancellation: Cancellation | None = None,
) -> None:
    """Fill and prepare `model`, built with the configuration of the same directory.

    Raises LoadFailed, naming file and key, unless the checkpoint holds exactly the model's tensors; Cancelled.
    """
    tensors, names = open_checkpoint(directory), checkpoint_mapping(model)
    parameters = model.state_dict()
    states = {key: stored for key, stored in tensors.items() if key.endswith(_STATE) and key in names}
    for key, stored in states.items():
        module = model.get_submodule(key.removesuffix(_STATE))
        assert isinstance(module, Nf4Linear)
        state = Nf4State.parse(_bytes(stored), f"{stored.path}: {key}")
        if state.shape != (module.out_features, module.in_features):
            raise LoadFailed(
                f"{stored.path}: {key} states the shape {state.shape}, the model's configuration asks for "
                f"{(module.out_features, module.in_features)}; {AGAIN}"
            )
        parameters.pop(names[key]).fill_(state.nested_offset)
    load_into(
        parameters,
        tensors,
        mapping=lambda key: names.get(key, ""),
        ignore=lambda key: key in states or key.endswith(_USELESS),
        threads=threads,
        report=report,
        cancellation=cancellation,
    )
    model.prepare()


def _bytes(stored: StoredTensor) -> bytes:
    if stored.size > _LONGEST_STATE:
        raise LoadFailed(
            f"{stored.path}: {stored.name} has {stored.size} bytes, which no quantisation state has; {AGAIN}"
        )
    with stored.path.open("rb") as file:
        return os.pread(file.fileno(), stored.size, stored.offset)
