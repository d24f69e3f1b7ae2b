"""A synthetic `CosyVoice-300M-25Hz` directory: flow, vocoder, speaker encoder and their configuration (spec 40, 50)."""

from __future__ import annotations

import re
from pathlib import Path

import torch

from editx.engines.step.decoder.config import FlowConfig, HiftConfig
from editx.engines.step.decoder.flow import Flow
from editx.engines.step.decoder.hift import Hift
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.synth.noise import Noise
from editx.engines.step.synth.speaker import write_speaker

_VOICED_HZ = 150.0
_PLAIN = ("source_downs", "m_source", "f0_predictor.classifier")
"""Parts of the vocoder without weight norm."""


def write_decoder(directory: Path, flow: FlowConfig, vocoder: HiftConfig, noise: Noise) -> None:
    """Fill `directory`."""
    (directory / "cosyvoice.yaml").write_text(decoder_yaml(flow, vocoder), "utf-8")
    (directory / "FLOW_VERSION").write_text("synthetic weights, for tests only\n", "utf-8")
    torch.save(flow_weights(flow, noise), directory / "flow.pt")
    torch.save(vocoder_weights(vocoder, noise), directory / "hift.pt")
    write_speaker(directory / "campplus.onnx", noise)


def flow_weights(config: FlowConfig, noise: Noise) -> dict[str, torch.Tensor]:
    """The state dict of `flow.pt`."""
    return {name: noise.weight(name, shape) for name, shape in flow_shapes(config).items()}


def flow_shapes(config: FlowConfig) -> dict[str, tuple[int, ...]]:
    with torch.device("meta"):
        return {name: tuple(p.shape) for name, p in Flow(config, DecoderOptions()).named_parameters()}


def vocoder_shapes(config: HiftConfig) -> dict[str, tuple[int, ...]]:
    """Keys and shapes of `hift.pt`: gain and direction where a convolution is weight-normed."""
    with torch.device("meta"):
        folded = {name: tuple(p.shape) for name, p in Hift(config).named_parameters()}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in folded.items():
        owner = name.removesuffix(".weight")
        if owner != name and len(shape) == 3 and not name.startswith(_PLAIN):
            shapes[f"{owner}.parametrizations.weight.original0"] = (shape[0], 1, 1)
            shapes[f"{owner}.parametrizations.weight.original1"] = shape
        else:
            shapes[name] = shape
    return shapes


def vocoder_weights(config: HiftConfig, noise: Noise) -> dict[str, torch.Tensor]:
    """The state dict of `hift.pt`. It hums: the predicted pitch is never far from 150 Hz."""
    shapes = vocoder_shapes(config)
    weights = {name: noise.weight(name, shape) for name, shape in shapes.items()}
    for name in shapes:
        if name.endswith("original0"):
            direction = weights[re.sub("0$", "1", name)]
            length = direction.flatten(1).norm(dim=1).view(-1, 1, 1)
            gain = 1 + 0.1 * weights[name]
            weights[name] = length * gain * (0.1 if name.startswith("conv_post.") else 1.0)
    bins = config.n_fft // 2 + 1
    weights["conv_post.bias"][:bins] -= 1.0
    weights["f0_predictor.classifier.weight"] *= 20.0
    weights["f0_predictor.classifier.bias"] += _VOICED_HZ
    return weights


def decoder_yaml(flow: FlowConfig, vocoder: HiftConfig) -> str:
    """`cosyvoice.yaml` of these sizes."""
    encoder, dit = flow.encoder, flow.dit

    def lists(values: tuple[tuple[int, ...], ...]) -> str:
        return str([list(value) for value in values])

    return f"""\
mel_conf:
    num_mels: {flow.mels}
    n_fft: 1920
    hop_size: 480
    win_size: 1920
    sampling_rate: 24000
    fmin: 0
    fmax: 8000

flow: !new:stepvocoder.cosyvoice2.flow.flow.CausalMaskedDiffWithXvec
    input_size: {flow.input_size}
    output_size: {flow.mels}
    spk_embed_dim: {flow.speaker_size}
    output_type: 'mel'
    vocab_size: {flow.vocab_size}
    input_embedding: !new:stepvocoder.cosyvoice2.embedding.dual_codebook.DualCodebookEmbedding
        vocab_size: {flow.vocab_size}
        input_size: {flow.input_size}
    encoder: !new:stepvocoder.cosyvoice2.transformer.upsample_encoder_v2.UpsampleConformerEncoderV2
        input_size: {encoder.input_size}
        output_size: {encoder.output_size}
        input_layer: 'linear'
        pre_lookahead_len: {encoder.lookahead}
        num_blocks: {encoder.num_blocks}
        num_up_blocks: {encoder.num_up_blocks}
        up_stride: 2
        up_scale_factor: 2
        attention_heads: {encoder.heads}
        pos_enc_layer_type: 'rel_pos_espnet'
        selfattention_layer_type: 'rel_selfattn'
        key_bias: true
        linear_units: {encoder.linear_units}
        dropout_rate: 0.1
        positional_dropout_rate: 0.1
        attention_dropout_rate: 0.1
        normalize_before: True
    decoder: !new:stepvocoder.cosyvoice2.flow.flow_matching.CausalConditionalCFM
        inference_cfg_rate: {flow.guidance}
        estimator: !new:stepvocoder.cosyvoice2.flow.decoder_dit.DiT
            in_channels: {dit.in_channels}
            out_channels: {dit.out_channels}
            mlp_ratio: {dit.mlp_ratio}
            depth: {dit.depth}
            num_heads: {dit.num_heads}
            head_dim: {dit.head_dim}
            hidden_size: {dit.hidden_size}

hift: !new:stepvocoder.cosyvoice2.hifigan.generator.HiFTGenerator
    in_channels: {vocoder.mels}
    base_channels: {vocoder.base_channels}
    nb_harmonics: {vocoder.harmonics}
    sampling_rate: {vocoder.sampling_rate}
    nsf_alpha: {vocoder.sine_amplitude}
    nsf_sigma: {vocoder.noise_std}
    nsf_voiced_threshold: {vocoder.voiced_threshold:g}
    upsample_rates: {list(vocoder.upsample_rates)}
    upsample_kernel_sizes: {list(vocoder.upsample_kernel_sizes)}
    istft_params:
        n_fft: {vocoder.n_fft}
        hop_len: {vocoder.hop}
    resblock_kernel_sizes: {list(vocoder.resblock_kernel_sizes)}
    resblock_dilation_sizes: {lists(vocoder.resblock_dilation_sizes)}
    source_resblock_kernel_sizes: {list(vocoder.source_resblock_kernel_sizes)}
    source_resblock_dilation_sizes: {lists(vocoder.source_resblock_dilation_sizes)}
    lrelu_slope: {vocoder.lrelu_slope}
    audio_limit: {vocoder.audio_limit}
    f0_predictor: !new:stepvocoder.cosyvoice2.hifigan.f0_predictor.ConvRNNF0Predictor
        num_class: 1
        in_channels: {vocoder.mels}
        cond_channels: {vocoder.cond_channels}
"""
