"""The flow decoder: dual token frames and a prompt to 50 Hz log-mel, whole or chunk by chunk (spec 40)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from editx.engines.step.decoder.checkpoint import load_strictly
from editx.engines.step.decoder.config import FlowConfig
from editx.engines.step.decoder.conformer import Positions, RelativeAttention
from editx.engines.step.decoder.dit import Attention, DiT
from editx.engines.step.decoder.encoder import Encoder, EncoderState
from editx.engines.step.decoder.estimator_cache import EstimatorCache
from editx.engines.step.decoder.layers import Conv, Linear, parameter
from editx.engines.step.decoder.options import DecoderOptions
from editx.engines.step.decoder.solver import Conditions, Solver
from editx.errors import LoadFailed


@dataclass(slots=True)
class FlowState:
    """What a streaming session carries between flow chunks."""

    encoder: EncoderState
    estimator: EstimatorCache


class DualEmbedding(nn.Module):
    """One table for both codebooks; the two halves of a frame's embedding are its two rows."""

    def __init__(self, vocabulary: int, size: int) -> None:
        super().__init__()
        self.embedding = nn.ParameterDict({"weight": parameter(vocabulary, size // 2)})

    def forward(self, dual_bt2: Tensor) -> Tensor:
        """int64 (B, T, 2) -> (B, T, size)."""
        return F.embedding(dual_bt2, self.embedding["weight"]).flatten(2)


class CfmDecoder(nn.Module):
    """Holds the estimator under the checkpoint's name."""

    def __init__(self, config: FlowConfig) -> None:
        super().__init__()
        self.estimator = DiT(config.dit)


class Flow(nn.Module):
    """Parameters are named as in `flow.pt`. Build with `Flow.load`; read-only afterwards, so threads may share it."""

    def __init__(self, config: FlowConfig, options: DecoderOptions) -> None:
        super().__init__()
        if config.dit.in_channels != 4 * config.mels or config.dit.out_channels != config.mels:
            raise LoadFailed(
                f"the estimator takes {config.dit.in_channels} and gives {config.dit.out_channels} channels; expected "
                f"{4 * config.mels} and {config.mels}. Use the cosyvoice.yaml that came with flow.pt"
            )
        self.config, self.options = config, options
        self.input_embedding = DualEmbedding(config.vocab_size, config.input_size)
        self.spk_embed_affine_layer = Linear(config.speaker_size, config.mels)
        self.encoder = Encoder(config.encoder)
        self.encoder_proj = Linear(config.encoder.output_size, config.mels)
        self.decoder = CfmDecoder(config)
        self.solver = Solver(self.decoder.estimator, config.guidance, options)

    @classmethod
    def load(
        cls, config: FlowConfig, state: Mapping[str, Tensor], *, device: torch.device,
        dtype: torch.dtype = torch.float32, options: DecoderOptions | None = None, where: str = "flow.pt",
    ) -> Flow:  # fmt: skip
        """Build from the tensors of `flow.pt`, which are used as they are where device and dtype fit.

        Raises LoadFailed, naming `where` and the keys, unless names and shapes are exactly those of `config`.
        """
        with torch.device("meta"):
            flow = cls(config, options or DecoderOptions())
        load_strictly(flow, state, device, where)
        with torch.inference_mode():
            flow._prepare(dtype)
        return flow.eval()

    def _prepare(self, dtype: torch.dtype) -> None:
        self.solver.prepare()
        kept = {self.spk_embed_affine_layer}
        if not self.options.modulation_table:
            kept |= {
                m for n, m in self.named_modules() if isinstance(m, Linear) and ("adaLN" in n or "t_embedder" in n)
            }
        for module in list(self.modules()):
            if self.options.fused_qkv and isinstance(module, Attention | RelativeAttention):
                module.fuse()
            if isinstance(module, RelativeAttention):
                module.positions = Positions(module.linear_pos, cached=self.options.cached_positions)
        for module in self.modules():
            if isinstance(module, Linear | Conv) and module not in kept:
                module.to(dtype)
                if self.options.packed_weights:
                    module.pack()

    @property
    def device(self) -> torch.device:
        return self.input_embedding.embedding["weight"].device

    def speaker(self, embedding_bc: Tensor) -> Tensor:
        """Speaker embedding fp32 (B, 192) -> (B, 80), normalised first (spec 40 §5)."""
        y: Tensor = self.spk_embed_affine_layer(F.normalize(embedding_bc.float(), dim=1, eps=1e-12))
        return y

    def enter(self, dual_t2: Tensor) -> Tensor:
        """Dual frames int64 (T, 2) -> the encoder's first step (1, T, D)."""
        return self.encoder.enter(self.input_embedding(dual_t2.to(self.device)[None]))

    def offline(
        self, entered_btd: Tensor, speaker_bc: Tensor, prompt_mel_btc: Tensor, noise_bct: Tensor,
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:  # fmt: skip
        """Prompt and target frames together (1, P+N, D), aligned prompt mel (1, 2P, 80), noise (1, 80, 2(P+N))
        -> mel of the target (1, 80, 2N)."""
        mu = self._mu(self.encoder(entered_btd))
        prompt = prompt_mel_btc.shape[1]
        cond = F.pad(prompt_mel_btc, (0, 0, 0, mu.shape[1] - prompt))
        conditions = Conditions(mu, speaker_bc, cond)
        return self.solver.solve(noise_bct, conditions, keep=mu.shape[1] - prompt, check=check)

    def start(
        self, entered_btd: Tensor, speaker_bc: Tensor, prompt_mel_btc: Tensor, noise_bct: Tensor,
        check: Callable[[], None] = lambda: None,
    ) -> FlowState:  # fmt: skip
        """Set up a session with its prompt: frames and lookahead (1, P+3, D), mel (1, 2P, 80), noise (1, 80, 2P)."""
        state = FlowState(self.encoder.start(self.device), self.estimator_cache(prompt_mel_btc.shape[1]))
        mu = self._mu(self.encoder.chunk(entered_btd, state.encoder, last=False))
        conditions = Conditions(mu, speaker_bc, prompt_mel_btc)
        self.solver.solve(noise_bct, conditions, cache=state.estimator, store=True, keep=0, check=check)
        return state

    def chunk(
        self, state: FlowState, entered_btd: Tensor, speaker_bc: Tensor, noise_bct: Tensor, *, last: bool,
        check: Callable[[], None] = lambda: None,
    ) -> Tensor:  # fmt: skip
        """The next frames (1, n+3, D), or the last (1, n, D), with noise (1, 80, 2n) -> mel (1, 80, 2n)."""
        mu = self._mu(self.encoder.chunk(entered_btd, state.encoder, last=last))
        conditions = Conditions(mu, speaker_bc, torch.zeros_like(mu))
        mel = self.solver.solve(noise_bct, conditions, cache=state.estimator, store=not last, check=check)
        state.estimator.truncate(self.options.context_frames, latest=self.options.latest_context)
        return mel

    def estimator_cache(self, prompt_frames: int) -> EstimatorCache:
        """Empty buffers for a session with a prompt of that many mel frames."""
        dit = self.config.dit
        return EstimatorCache(
            steps=self.options.steps,
            depth=dit.depth,
            heads=dit.num_heads,
            head_size=dit.head_dim,
            width=dit.hidden_size,
            capacity=prompt_frames + self.options.context_frames + 2 * max(self.options.chunk_frames),
            device=self.device,
            dtype=self.encoder_proj.dtype,
        )

    def _mu(self, encoded_btd: Tensor) -> Tensor:
        mu: Tensor = self.encoder_proj(encoded_btd)
        return mu.float()
