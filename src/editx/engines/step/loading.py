"""From the files of a variant to modules that are ready to run (spec 10 §1 and §3, 30 §1, 40 §1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from editx.engines.layout import ModelFiles
from editx.engines.record import verifying
from editx.engines.step.decoder import DecoderConfig, Precision, TokenDecoder
from editx.engines.step.decoder.decoder import Told
from editx.engines.step.devices import language_model_dtype
from editx.engines.step.frontend.campplus import CamPlus
from editx.engines.step.frontend.campplus_onnx import campplus_weights
from editx.engines.step.frontend.speaker import SpeakerFrontend
from editx.engines.step.lm.config import LanguageModelConfig
from editx.engines.step.lm.model import Step1, checkpoint_mapping
from editx.engines.step.lm.nf4 import Nf4Linear, Nf4State
from editx.engines.step.onnx_weights import read_onnx
from editx.engines.step.text.tokenizer import SentencePieceTokenizer
from editx.engines.step.tokenizers.audio_tokenizer import AudioTokenizer
from editx.engines.step.tokenizers.linguistic import LinguisticTokenizer, read_centroids
from editx.engines.step.tokenizers.linguistic_features import read_cmvn
from editx.engines.step.tokenizers.sanm import LinguisticConfig, LinguisticNetwork
from editx.engines.step.tokenizers.semantic import SemanticTokenizer
from editx.engines.step.tokenizers.semantic_network import SemanticNetwork
from editx.engines.step.tokenizers.semantic_onnx import semantic_config, semantic_weights
from editx.engines.step.weights.header import StoredTensor, open_checkpoint
from editx.engines.step.weights.pickled import converted, load_pickled_into
from editx.engines.step.weights.reader import load_into
from editx.errors import LoadFailed

_LANGUAGE_MODEL_SHARE = 0.8  # of the time a load takes
_READING_SHARE = 0.6  # of the language model's
_IGNORED = ("rotary_emb.inv_freq", "position_ids")  # exotic copies have them (spec 10 §3)
_NF4_STATE = ".quant_state.bitsandbytes__nf4"


@dataclass(frozen=True, slots=True)
class Parts:
    """Everything one variant consists of, on its device."""

    text: SentencePieceTokenizer
    audio: AudioTokenizer
    speaker: SpeakerFrontend
    decoder: TokenDecoder
    model: Step1


def load_parts(files: ModelFiles, *, device: torch.device, max_tokens: int, cache: Path, told: Told) -> Parts:
    """Load a variant. `cache`: where converted copies of `.pt` files are kept.

    Raises LoadFailed, naming file, key and remedy, for files that are not what they should be.
    """
    with verifying(files.without_sums, files.directories):
        return _load_parts(files, device=device, max_tokens=max_tokens, cache=cache, told=told)


def _load_parts(files: ModelFiles, *, device: torch.device, max_tokens: int, cache: Path, told: Told) -> Parts:
    text = load_text_tokenizer(files)
    model = load_language_model(
        files, device=device, max_tokens=max_tokens, told=lambda share: told(share * _LANGUAGE_MODEL_SHARE)
    )
    config = DecoderConfig.read(_text(files.decoder_config), str(files.decoder_config))
    decoder = TokenDecoder.load(
        config,
        read_pickled(files.flow, cache),
        read_pickled(files.vocoder, cache),
        device=device,
        precision=Precision.fast(device),
    )
    told(0.9)
    speaker = CamPlus()
    _fill(speaker, campplus_weights(read_onnx(files.speaker)), files.speaker)
    audio = load_audio_tokenizer(files, device=device, cache=cache)
    told(1.0)
    return Parts(
        text=text,
        audio=audio,
        speaker=SpeakerFrontend(speaker.to(device).eval(), config.mel),
        decoder=decoder,
        model=model,
    )


def load_text_tokenizer(files: ModelFiles) -> SentencePieceTokenizer:
    """The text tokenizer. Raises LoadFailed for one that is not the model's."""
    text = SentencePieceTokenizer(files.text_tokenizer)
    text.check(LanguageModelConfig.read(files.config).vocab_size)
    return text


def load_audio_tokenizer(files: ModelFiles, *, device: torch.device, cache: Path) -> AudioTokenizer:
    """Both tokenizers alone. Raises as `load_parts`."""
    return AudioTokenizer(_linguistic(files, device, cache), _semantic(files, device))


def load_language_model(
    files: ModelFiles, *, device: torch.device, max_tokens: int, told: Told = lambda share: None
) -> Step1:
    """The language model alone, its weights read straight into place."""
    config = LanguageModelConfig.read(files.config)
    model = Step1(config, device=device, dtype=language_model_dtype(device, config), max_tokens=max_tokens)
    names = checkpoint_mapping(model)
    tensors = open_checkpoint(files.model)
    parameters = model.state_dict()
    states = {key: stored for key, stored in tensors.items() if key.endswith(_NF4_STATE)}
    for name in _read_nf4_states(model, names, states):
        del parameters[name]
    load_into(
        parameters,
        tensors,
        mapping=lambda key: names.get(key, key),
        ignore=lambda key: key.endswith(_IGNORED) or key in states,
        report=lambda done, total: told(_READING_SHARE * done / total),
    )
    model.prepare(lambda share: told(_READING_SHARE + (1 - _READING_SHARE) * share))
    return model.eval()


def _read_nf4_states(model: Step1, names: Mapping[str, str], states: Mapping[str, StoredTensor]) -> list[str]:
    """Fill in what NF4 keeps in JSON; returns the names of the buffers that are thus filled."""
    filled = []
    buffers = model.state_dict()
    for module_name, module in model.named_modules():
        if not isinstance(module, Nf4Linear):
            continue
        key = f"{module_name}.weight{_NF4_STATE}"
        stored = states.get(key)
        if stored is None:
            raise LoadFailed(f"the checkpoint lacks {key!r}; fetch the published files again with `editx pull`")
        with stored.path.open("rb") as file:
            file.seek(stored.offset)
            state = Nf4State.parse(file.read(stored.size), key)
        if state.shape != (module.out_features, module.in_features):
            raise LoadFailed(
                f"{stored.path} states {state.shape} for {key!r}, and the model has "
                f"{(module.out_features, module.in_features)}; fetch the published files again with `editx pull`"
            )
        buffers[names[key]].fill_(state.nested_offset)
        module.stated_dtype = state.dtype
        filled.append(names[key])
    return filled


def read_pickled(source: Path, cache: Path, prefix: str = "") -> dict[str, Tensor]:
    """The tensors of a `.pt` file on the CPU, read through its converted copy by several threads."""
    tensors = {
        name: torch.empty(stored.shape, dtype=stored.dtype) for name, stored in converted(source, cache, prefix).items()
    }
    load_pickled_into(tensors, source, cache, prefix=prefix)
    return tensors


def _linguistic(files: ModelFiles, device: torch.device, cache: Path) -> LinguisticTokenizer:
    try:
        document: Any = yaml.safe_load(_text(files.linguistic_config))
    except yaml.YAMLError as error:
        raise LoadFailed(f"{files.linguistic_config} is not YAML: {error}; fetch the published file again") from error
    encoder = document.get("encoder_conf") if isinstance(document, dict) else None
    if not isinstance(encoder, dict):
        raise LoadFailed(f"{files.linguistic_config} has no encoder_conf; fetch the published file again")
    network = LinguisticNetwork(LinguisticConfig.from_mapping({"input_size": 560, **encoder}))
    load_pickled_into(network.state_dict(), files.linguistic, cache, prefix="encoder.")
    network = network.to(device).eval()
    return LinguisticTokenizer(network, read_cmvn(files.linguistic_cmvn), read_centroids(files.centroids))


def _semantic(files: ModelFiles, device: torch.device) -> SemanticTokenizer:
    graph = read_onnx(files.semantic)
    network = SemanticNetwork(semantic_config(graph))
    _fill(network, semantic_weights(graph), files.semantic)
    return SemanticTokenizer(network.to(device).eval())


def _fill(module: nn.Module, state: Mapping[str, Tensor], source: Path) -> None:
    try:
        module.load_state_dict(dict(state), strict=True)
    except RuntimeError as error:
        raise LoadFailed(f"{source} does not hold the network expected: {error}; fetch the published file") from error


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise LoadFailed(f"{path} cannot be read: {error}; fetch the published file again") from error
