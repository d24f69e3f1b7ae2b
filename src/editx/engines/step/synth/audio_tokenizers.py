"""A synthetic `Step-Audio-Tokenizer` directory: linguistic and semantic encoder (spec 30 §1)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from editx.engines.layout import PARAFORMER_DIRECTORY
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.semantic import write_semantic
from editx.engines.step.synth.sizes import CENTROIDS, Sizes
from editx.engines.step.tokenizers.sanm import LinguisticConfig, LinguisticNetwork


def write_audio_tokenizers(directory: Path, sizes: Sizes, noise: Noise) -> None:
    """Fill `directory`."""
    centroids = noise.weight("linguistic_tokenizer", (CENTROIDS, sizes.linguistic.output_size))
    np.save(directory / "linguistic_tokenizer.npy", centroids.numpy())
    write_semantic(directory / "speech_tokenizer_v1.onnx", sizes.semantic, noise)
    paraformer = directory / PARAFORMER_DIRECTORY
    paraformer.mkdir(parents=True)
    (paraformer / "config.yaml").write_text(_config(sizes.linguistic), "utf-8")
    (paraformer / "am.mvn").write_text(_cmvn(sizes.linguistic.input_size), "ascii")
    roles = {"init_param": "model.pt", "config": "config.yaml", "frontend_conf": {"cmvn_file": "am.mvn"}}
    (paraformer / "configuration.json").write_text(
        json.dumps({"framework": "pytorch", "task": "auto-speech-recognition", "file_path_metas": roles}, indent=2)
    )
    weights = {name: noise.weight(name, shape) for name, shape in linguistic_shapes(sizes.linguistic).items()}
    # The published file holds a whole recogniser, of which the encoder is the part that is needed.
    weights["predictor.cif_output.weight"] = torch.zeros(1, sizes.linguistic.output_size)
    weights["decoder.output_layer.bias"] = torch.zeros(16)
    torch.save(weights, paraformer / "model.pt")


def linguistic_shapes(config: LinguisticConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of the encoder in `model.pt`."""
    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in LinguisticNetwork(config).named_parameters()}


def _config(config: LinguisticConfig) -> str:
    return f"""\
encoder: SANMEncoderChunkOpt
encoder_conf:
    output_size: {config.output_size}
    attention_heads: {config.attention_heads}
    linear_units: {config.linear_units}
    num_blocks: {config.num_blocks}
    dropout_rate: 0.1
    positional_dropout_rate: 0.1
    attention_dropout_rate: 0.1
    input_layer: pe_online
    pos_enc_class: SinusoidalPositionEncoder
    normalize_before: true
    kernel_size: {config.kernel_size}
    sanm_shfit: 0
    selfattention_layer_type: sanm
    chunk_size: [12, 15]
    stride: [8, 10]
    pad_left: [0, 0]

frontend: WavFrontendOnline
frontend_conf:
    fs: 16000
    window: hamming
    n_mels: 80
    frame_length: 25
    frame_shift: 10
    lfr_m: 7
    lfr_n: 6
    cmvn_file: am.mvn
"""


def _cmvn(width: int) -> str:
    """What brings the log energies of ordinary speech to about zero mean and unit deviation."""
    shift, scale = (" ".join([value] * width) for value in ("-12.5", "0.2"))
    return f"""\
<Nnet>
<Splice> {width} {width}
[ 0 ]
<AddShift> {width} {width}
<LearnRateCoef> 0 [ {shift} ]
<Rescale> {width} {width}
<LearnRateCoef> 0 [ {scale} ]
</Nnet>
"""
