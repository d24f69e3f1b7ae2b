"""The hyper-parameters of flow and vocoder, as `cosyvoice.yaml` states them (spec 40 §2, 50 §1 and §8)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import cast

from editx.engines.step.decoder import hyperyaml
from editx.errors import LoadFailed


@dataclass(frozen=True, slots=True)
class MelConfig:
    """The 24 kHz log-mel of the prompt (spec 60 §3); rates in Hz, sizes in samples."""

    num_mels: int = 80
    n_fft: int = 1920
    hop_size: int = 480
    win_size: int = 1920
    sampling_rate: int = 24000
    fmin: float = 0.0
    fmax: float = 8000.0


@dataclass(frozen=True, slots=True)
class EncoderConfig:
    """The conformer that turns 25 Hz token embeddings into 50 Hz frames."""

    input_size: int = 512
    output_size: int = 256
    lookahead: int = 3
    num_blocks: int = 6
    num_up_blocks: int = 4
    heads: int = 4
    linear_units: int = 2048


@dataclass(frozen=True, slots=True)
class DiTConfig:
    """The velocity estimator."""

    in_channels: int = 320
    out_channels: int = 80
    mlp_ratio: float = 4.0
    depth: int = 28
    num_heads: int = 8
    head_dim: int = 64
    hidden_size: int = 256


@dataclass(frozen=True, slots=True)
class FlowConfig:
    """Token embedding, speaker conditioning, encoder and guided solve."""

    input_size: int = 512
    mels: int = 80
    speaker_size: int = 192
    vocab_size: int = 5121
    guidance: float = 0.7
    encoder: EncoderConfig = field(default_factory=EncoderConfig)
    dit: DiTConfig = field(default_factory=DiTConfig)


@dataclass(frozen=True, slots=True)
class HiftConfig:
    """The neural-source-filter vocoder; defaults are the published values."""

    mels: int = 80
    base_channels: int = 512
    harmonics: int = 8
    sampling_rate: int = 24000
    sine_amplitude: float = 0.1
    noise_std: float = 0.003
    voiced_threshold: float = 10.0
    upsample_rates: tuple[int, ...] = (8, 5, 3)
    upsample_kernel_sizes: tuple[int, ...] = (16, 11, 7)
    n_fft: int = 16
    hop: int = 4
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    source_resblock_kernel_sizes: tuple[int, ...] = (7, 7, 11)
    source_resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    lrelu_slope: float = 0.1
    audio_limit: float = 0.99
    cond_channels: int = 512


@dataclass(frozen=True, slots=True)
class BigVGANConfig:
    """The alternative vocoder; defaults are the reference's (spec 50 §8)."""

    num_mels: int = 80
    upsample_initial_channel: int = 512
    upsample_rates: tuple[int, ...] = (5, 4, 3, 2, 2, 2)
    upsample_kernel_sizes: tuple[int, ...] = (11, 8, 7, 4, 4, 4)
    resblock: str = "1"
    resblock_kernel_sizes: tuple[int, ...] = (3, 7, 11)
    resblock_dilation_sizes: tuple[tuple[int, ...], ...] = ((1, 3, 5), (1, 3, 5), (1, 3, 5))
    activation: str = "snakebeta"
    snake_logscale: bool = True
    use_bias_at_final: bool = False
    use_tanh_at_final: bool = False


@dataclass(frozen=True, slots=True)
class DecoderConfig:
    """Everything `cosyvoice.yaml` says that inference needs."""

    mel: MelConfig
    flow: FlowConfig
    vocoder: HiftConfig | BigVGANConfig

    @classmethod
    def read(cls, text: str, where: str = "cosyvoice.yaml") -> DecoderConfig:
        """Parse the document. Raises LoadFailed naming `where` and the key that is missing, mistyped or unsupported."""
        top = _Section(hyperyaml.read(text, where), where)
        return cls(_mel(top), _flow(top.section("flow")), _vocoder(top.section("hift")))


class _Section:
    """One mapping of the document, read key by key with the reference's defaults."""

    def __init__(self, values: Mapping[str, object], where: str) -> None:
        self._values = values
        self._where = where

    def section(self, key: str, *, optional: bool = False) -> _Section:
        value = self._values.get(key, {} if optional else None)
        if not isinstance(value, dict):
            raise self._wrong(key, "a mapping", value)
        return _Section(cast("Mapping[str, object]", value), f"{self._where}: {key}")

    def has(self, key: str) -> bool:
        return key in self._values

    def number(self, key: str, default: float) -> float:
        value = self._values.get(key, default)
        # YAML 1.1 reads 1e-06 as text.
        if isinstance(value, bool) or not isinstance(value, int | float | str):
            raise self._wrong(key, "a number", value)
        try:
            return float(value)
        except ValueError:
            raise self._wrong(key, "a number", value) from None

    def integer(self, key: str, default: int) -> int:
        number = self.number(key, default)
        if number != int(number) or number < 0:
            raise self._wrong(key, "a whole number", number)
        return int(number)

    def integers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        value = self._values.get(key, default)
        if not isinstance(value, list | tuple) or not all(isinstance(i, int) and i > 0 for i in value):
            raise self._wrong(key, "a list of positive whole numbers", value)
        return tuple(value)

    def lists(self, key: str, default: tuple[tuple[int, ...], ...]) -> tuple[tuple[int, ...], ...]:
        value = self._values.get(key, default)
        if not isinstance(value, list | tuple):
            raise self._wrong(key, "a list of lists", value)
        return tuple(_Section({key: item}, self._where).integers(key, ()) for item in value)

    def flag(self, key: str, default: bool) -> bool:
        value = self._values.get(key, default)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false", value)
        return value

    def text(self, key: str, default: str) -> str:
        value = self._values.get(key, default)
        if not isinstance(value, str | int):
            raise self._wrong(key, "text", value)
        return str(value)

    def only(self, key: str, *allowed: object) -> None:
        """Refuse a value we do not implement; an absent key means the first allowed one."""
        value = self._values.get(key, allowed[0])
        if value not in allowed:
            raise self._wrong(key, " or ".join(map(repr, allowed)) + ", the only choice supported", value)

    def _wrong(self, key: str, expected: str, value: object) -> LoadFailed:
        found = "is missing" if value is None else f"is {value!r}"
        return LoadFailed(f"{self._where}: {key} {found}; expected {expected}. Use the published cosyvoice.yaml")


def _mel(top: _Section) -> MelConfig:
    section, default = top.section("mel_conf"), MelConfig()
    return MelConfig(
        num_mels=section.integer("num_mels", default.num_mels),
        n_fft=section.integer("n_fft", default.n_fft),
        hop_size=section.integer("hop_size", default.hop_size),
        win_size=section.integer("win_size", default.win_size),
        sampling_rate=section.integer("sampling_rate", default.sampling_rate),
        fmin=section.number("fmin", default.fmin),
        fmax=section.number("fmax", default.fmax),
    )


def _flow(section: _Section) -> FlowConfig:
    encoder, decoder = section.section("encoder"), section.section("decoder")
    estimator = decoder.section("estimator")
    encoder.only("input_layer", "linear")
    encoder.only("pos_enc_layer_type", "rel_pos_espnet")
    encoder.only("selfattention_layer_type", "rel_selfattn")
    encoder.only("activation_type", "swish", "silu")
    encoder.only("key_bias", True)
    encoder.only("normalize_before", True)
    encoder.only("up_stride", 2)
    encoder.only("up_scale_factor", 2)
    solver = decoder if decoder.has("inference_cfg_rate") else decoder.section("cfm_params", optional=True)
    input_size = section.integer("input_size", 512)
    return FlowConfig(
        input_size=input_size,
        mels=section.integer("output_size", 80),
        speaker_size=section.integer("spk_embed_dim", 192),
        vocab_size=section.integer("vocab_size", 5121),
        guidance=solver.number("inference_cfg_rate", 0.7),
        encoder=EncoderConfig(
            input_size=encoder.integer("input_size", input_size),
            output_size=encoder.integer("output_size", 256),
            lookahead=encoder.integer("pre_lookahead_len", 3),
            num_blocks=encoder.integer("num_blocks", 6),
            num_up_blocks=encoder.integer("num_up_blocks", 4),
            heads=encoder.integer("attention_heads", 4),
            linear_units=encoder.integer("linear_units", 2048),
        ),
        dit=DiTConfig(
            in_channels=estimator.integer("in_channels", 320),
            out_channels=estimator.integer("out_channels", 80),
            mlp_ratio=estimator.number("mlp_ratio", 4.0),
            depth=estimator.integer("depth", 28),
            num_heads=estimator.integer("num_heads", 8),
            head_dim=estimator.integer("head_dim", 64),
            hidden_size=estimator.integer("hidden_size", 256),
        ),
    )


def _vocoder(section: _Section) -> HiftConfig | BigVGANConfig:
    section.only(hyperyaml.CLASS, "HiFTGenerator", "BigVGAN")
    return _bigvgan(section) if section.text(hyperyaml.CLASS, "HiFTGenerator") == "BigVGAN" else _hift(section)


def _hift(section: _Section) -> HiftConfig:
    istft, f0 = section.section("istft_params", optional=True), section.section("f0_predictor", optional=True)
    f0.only("num_class", 1)
    return HiftConfig(
        mels=section.integer("in_channels", 80),
        base_channels=section.integer("base_channels", 512),
        harmonics=section.integer("nb_harmonics", 8),
        sampling_rate=section.integer("sampling_rate", 22050),
        sine_amplitude=section.number("nsf_alpha", 0.1),
        noise_std=section.number("nsf_sigma", 0.003),
        voiced_threshold=section.number("nsf_voiced_threshold", 10),
        upsample_rates=section.integers("upsample_rates", (8, 8)),
        upsample_kernel_sizes=section.integers("upsample_kernel_sizes", (16, 16)),
        n_fft=istft.integer("n_fft", 16),
        hop=istft.integer("hop_len", 4),
        resblock_kernel_sizes=section.integers("resblock_kernel_sizes", (3, 7, 11)),
        resblock_dilation_sizes=section.lists("resblock_dilation_sizes", ((1, 3, 5),) * 3),
        source_resblock_kernel_sizes=section.integers("source_resblock_kernel_sizes", (7, 11)),
        source_resblock_dilation_sizes=section.lists("source_resblock_dilation_sizes", ((1, 3, 5),) * 2),
        lrelu_slope=section.number("lrelu_slope", 0.1),
        audio_limit=section.number("audio_limit", 0.99),
        cond_channels=f0.integer("cond_channels", 512),
    )


def _bigvgan(section: _Section) -> BigVGANConfig:
    default = BigVGANConfig()
    section.only("activation", "snakebeta", "snake")
    section.only("resblock", "1", "2", 1, 2)
    return BigVGANConfig(
        num_mels=section.integer("num_mels", default.num_mels),
        upsample_initial_channel=section.integer("upsample_initial_channel", default.upsample_initial_channel),
        upsample_rates=section.integers("upsample_rates", default.upsample_rates),
        upsample_kernel_sizes=section.integers("upsample_kernel_sizes", default.upsample_kernel_sizes),
        resblock=section.text("resblock", default.resblock),
        resblock_kernel_sizes=section.integers("resblock_kernel_sizes", default.resblock_kernel_sizes),
        resblock_dilation_sizes=section.lists("resblock_dilation_sizes", default.resblock_dilation_sizes),
        activation=section.text("activation", default.activation),
        snake_logscale=section.flag("snake_logscale", default.snake_logscale),
        use_bias_at_final=section.flag("use_bias_at_final", default.use_bias_at_final),
        use_tanh_at_final=section.flag("use_tanh_at_final", default.use_tanh_at_final),
    )
