"""A streaming session: audio tokens in as the language model makes them, samples out chunk by chunk (spec 70)."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from types import TracebackType

import torch
from torch import Tensor

from editx.cancellation import Cancellation
from editx.engines.step.decoder.flow import Flow, FlowState
from editx.engines.step.decoder.noise import Noise
from editx.engines.step.decoder.tokens import FRAMES_PER_GROUP, GROUP, checked, dual_frames, mixed_length
from editx.engines.step.decoder.voice import VoicePrompt
from editx.engines.step.decoder.wave_stream import Vocoder, WaveStream
from editx.errors import Cancelled, InvalidRequest


class Session:
    """One utterance. All its buffers are its own; it gives them back at the last push, on an error, or on `close`.

    `push` is for one thread at a time; `close` and `cancellation` may come from any. Use as a context manager.
    """

    def __init__(
        self, flow: Flow, vocoder: Vocoder, voice: VoicePrompt, noise: Noise, cancellation: Cancellation
    ) -> None:
        options = flow.options
        self._flow, self._voice, self._noise, self._cancellation = flow, voice, noise, cancellation
        self._sizes = list(options.chunk_frames)
        self._tokens: list[int] = []
        self._state: FlowState | None = None
        self._waves: WaveStream | None = WaveStream(vocoder, noise, options.mel_overlap_frames)
        self._lock = threading.Lock()
        self._stopped = False
        self._ended = False

    @property
    def closed(self) -> bool:
        """Whether the session has ended and holds nothing any more."""
        return self._ended

    @property
    def buffer_bytes(self) -> int:
        """What the estimator's caches of this session occupy on the device."""
        state = self._state
        return 0 if state is None else state.estimator.kv.nbytes + state.estimator.convs.nbytes

    def push(self, tokens: Sequence[int], last: bool = False) -> list[Tensor]:
        """Add mixed tokens; return the chunks that became ready, each fp32 on the CPU, (samples,) at 24 kHz.

        However the tokens are cut into pushes, the chunks are the same, provided that the last push brings at least one
        token. Before an empty last push, tokens that just suffice for a chunk and its lookahead have already given that
        chunk, and the lookahead becomes one of its own; else both are one last chunk. After `last` the chunks together
        are 960 samples per dual frame in any case, and the session is closed. Raises InvalidRequest for a token that
        does not exist (nothing is consumed then) or a push after the end, Cancelled soon after `close` or the
        cancellation.
        """
        return list(self.stream(tokens, last))

    def stream(self, tokens: Sequence[int], last: bool = False) -> Iterator[Tensor]:
        """As `push`, but each chunk is handed over before the next is computed."""
        ids = checked(tokens)
        with self._lock:
            self._refuse_if_ended()
            self._tokens += ids
        return self._chunks(last)

    def close(self) -> None:
        """Stop at the next step, if a push is under way, and free everything. Safe to call twice, from any thread."""
        self._stopped = True
        with self._lock:
            self._free()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _chunks(self, last: bool) -> Iterator[Tensor]:
        while True:
            with self._lock:
                self._refuse_if_ended()
                try:
                    chunk = self._next(last)
                except BaseException:
                    self._free()
                    raise
                whole = self._ended  # after the yield it may be `close` that has ended it
            if chunk is None:
                return
            # Cloned outside of inference mode: the caller may do with it what it likes.
            yield chunk.clone()
            if whole:
                return

    @torch.inference_mode()
    def _next(self, last: bool) -> Tensor | None:
        """The next chunk, or None when more tokens are needed."""
        lookahead = mixed_length(FRAMES_PER_GROUP)
        if not self._tokens and last:
            self._free()
            return None
        if self._state is None:
            if len(self._tokens) < lookahead and not last:
                return None
            self._state = self._set_up(dual_frames(self._tokens[:GROUP]))
        size = mixed_length(self._sizes[0])
        ready = len(self._tokens) - size - lookahead
        # At the end the lookahead belongs to the last chunk, which therefore may not be left without tokens of its own.
        if ready > 0 or (ready == 0 and not last):
            chunk, self._tokens = self._tokens[: size + lookahead], self._tokens[size:]
            return self._render(self._state, chunk, last=False)
        if not last:
            return None
        samples = self._render(self._state, self._tokens, last=True)
        self._free()
        return samples

    def _set_up(self, lookahead_t2: Tensor) -> FlowState:
        voice = self._voice
        entered = torch.cat([voice.entered_btd, self._flow.enter(lookahead_t2)], dim=1)
        noise = self._noise.flow(0, voice.mel_btc.shape[1])
        return self._flow.start(entered, voice.speaker_bc, voice.mel_btc, noise, self._check)

    def _render(self, state: FlowState, tokens: list[int], *, last: bool) -> Tensor:
        dual = dual_frames(tokens)
        frames = len(dual) - (0 if last else self._flow.encoder.lookahead)
        # The reference takes the noise at the cache's length, not at the frame's place in the utterance.
        noise = self._noise.flow(state.estimator.length, 2 * frames)
        entered = self._flow.enter(dual)
        mel = self._flow.chunk(state, entered, self._voice.speaker_bc, noise, last=last, check=self._check)
        self._check()
        assert self._waves is not None
        if len(self._sizes) > 1:
            del self._sizes[0]
        return self._waves.render(mel, last=last).cpu()

    def _check(self) -> None:
        self._cancellation.raise_if_cancelled()
        if self._stopped:
            raise Cancelled("the decoding session was closed")

    def _refuse_if_ended(self) -> None:
        if self._ended:
            self._check()
            raise InvalidRequest("the session has ended: its last tokens were pushed before", param="tokens")

    def _free(self) -> None:
        self._ended = True
        self._state = self._waves = None
        self._tokens = []
