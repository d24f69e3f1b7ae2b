"""Continuous batching: one thread owns the model, and requests join and leave between its decode steps.

A request's life:

1. `generate` puts it in the queue.
2. It gets a row as soon as one is free; what is kept of its prompt is copied in.
3. The rest of the prompt but its last token is filled in chunk by chunk, a decode step of the others between two.
4. Every step draws one token for every row.
5. After a block of steps the tokens are copied back, those of all rows in one go, and handed out.
6. At its end, its limit, an error or its cancellation the row is free again; the last row moves into the gap.

Each draw takes a number of the request's own, so neighbours do not change its result.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from copy import copy
from dataclasses import dataclass

import torch

from editx.cancellation import Cancellation
from editx.engines.base import DeviceLost
from editx.engines.step.devices import is_lost
from editx.engines.step.lm.config import REMEDY
from editx.engines.step.lm.decode import Decoding, StepShape
from editx.engines.step.lm.generation import Generation
from editx.engines.step.lm.graph import Runner, fastest_runner
from editx.engines.step.lm.model import Step1, chunk_size
from editx.engines.step.lm.prefix import PrefixStore
from editx.engines.step.lm.sampling import SamplingOptions, uniforms
from editx.engines.step.text.audio_tokens import PUBLISHED, TokenLayout
from editx.engines.step.text.limits import fit
from editx.engines.step.text.prompts import Prompt
from editx.errors import EditXError, EngineFault, InvalidRequest, LoadFailed, OutOfMemory, ShuttingDown

BLOCK = 25
"""Decode steps between two copies of ids off an accelerator: half a second of audio, and no wait for every token."""


@dataclass(slots=True)
class _Sequence:
    """A request that holds a row."""

    generation: Generation
    row: int
    cached: int = 0
    """Tokens whose keys and values are in the cache."""
    drawn: int = 0

    @property
    def left(self) -> int:
        return self.generation.limit - self.drawn

    def need(self) -> StepShape:
        """What its next decode step takes by itself."""
        options = self.generation.options
        return StepShape(1, self.cached + 1, wide=options.wide, free=not options.structure)


class LanguageModel:
    """Serves a prepared `Step1` to any number of threads, up to `max_batch` requests at a time; the rest wait in order.

    `max_tokens` bounds prompt and result of one request together; memory for keys and values of
    `max_batch` x `max_tokens` is allocated at once. `prefix_tokens` bounds what is kept of shared beginnings.
    `block` is how many steps run between two looks at the result, 1 on the CPU, where looking is free.
    """

    def __init__(
        self,
        model: Step1,
        *,
        max_batch: int = 4,
        max_tokens: int | None = None,
        layout: TokenLayout = PUBLISHED,
        prefix_tokens: int = 4096,
        block: int | None = None,
        run_with: Callable[[Decoding], Runner] = fastest_runner,
    ) -> None:
        if layout.audio_end > model.config.vocab_size:
            raise LoadFailed(
                f"audio ids up to {layout.audio_end - 1} do not fit a vocabulary of {model.config.vocab_size}; {REMEDY}"
            )
        with torch.inference_mode():
            cache = model.new_cache(max_batch, max_tokens)
            self._decoding = Decoding(model, cache, layout)
        self.model, self.layout = model, layout
        self.max_batch, self.max_tokens = max_batch, cache.max_tokens
        self.prefixes = PrefixStore(prefix_tokens if model.switches.prefix_reuse else 0)
        self._block = block or (1 if model.device.type == "cpu" else BLOCK)
        self._runner = run_with(self._decoding)
        self._changed = threading.Condition()
        self._waiting: deque[Generation] = deque()
        self._active: list[_Sequence] = []
        self._joining: _Sequence | None = None
        self._closing = False
        self._stale = False
        self._thread = threading.Thread(target=self._serve, name="language-model", daemon=True)
        self._thread.start()

    @property
    def running(self) -> int:
        """Requests that hold a row now."""
        return len(self._active) + (self._joining is not None)

    @property
    def waiting(self) -> int:
        """Requests that wait for a row now."""
        return len(self._waiting)

    def generate(
        self,
        prompt: Prompt | Sequence[int],
        *,
        options: SamplingOptions | None = None,
        seed: int = 0,
        max_new: int | None = None,
        cancellation: Cancellation | None = None,
    ) -> Generation:
        """Continue `prompt` by at most `max_new` tokens. Returns at once; iterate the result. Thread-safe.

        `seed`: 0 to 2**63 - 1. Raises InvalidRequest for ids outside the vocabulary, TooLarge for a prompt that leaves
        no room for a result, ShuttingDown after `close`.
        """
        ids = prompt.ids if isinstance(prompt, Prompt) else tuple(prompt)
        constant = prompt.constant if isinstance(prompt, Prompt) else 0
        if not ids:
            raise InvalidRequest("the prompt has no tokens")
        wrong = next((i for i in ids if not 0 <= i < self.model.config.vocab_size), None)
        if wrong is not None:
            raise InvalidRequest(f"{wrong} is no token; they run from 0 to {self.model.config.vocab_size - 1}")
        if not 0 <= seed < 2**63:
            raise InvalidRequest(f"seed is {seed}; use 0 to {2**63 - 1}", param="seed")
        room = fit(self.max_tokens, len(ids), self.max_tokens)
        if max_new is not None and max_new < 1:
            raise InvalidRequest(f"a result may have {max_new} tokens; it needs 1 or more")
        generation = Generation(
            ids,
            min(constant, len(ids) - 1),
            options or SamplingOptions(),
            seed,
            room if max_new is None else min(room, max_new),
            cancellation or Cancellation(),
            self._wake,
        )
        with self._changed:
            if self._closing:
                raise ShuttingDown("the language model is closing")
            self._waiting.append(generation)
            self._changed.notify_all()
        return generation

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Wait until no request holds a row or waits for one. Whether that came about in time."""
        with self._changed:
            return self._changed.wait_for(lambda: not (self._waiting or self.running), timeout_s)

    def close(self) -> None:
        """Fail whatever is under way with ShuttingDown, and stop. Safe to call twice."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join()
        self.prefixes.clear()

    # The rest runs in the scheduler thread.

    def _serve(self) -> None:
        with torch.inference_mode(), self._stream():
            while self._wait_for_work():
                try:
                    self._turn()
                except Exception as error:
                    # Everyone it concerns is told, and raises it in a thread of their own.
                    self._fail(_as_told(error))
        self._fail(ShuttingDown("the language model is closing"))

    def _turn(self) -> None:
        """A chunk of prompt for the one who joins, then a block of decode steps for those who are in."""
        if self._stale:
            for row in range(self.max_batch):
                self._decoding.rows.end(row)
            self._stale = False
        self._drop_abandoned()
        if self._joining is None:
            self._joining = self._admit()
        if self._joining is not None:
            self._fill(self._joining)
        if self._active:
            self._decode_block()

    def _wait_for_work(self) -> bool:
        """Sleep until there is something to do. Whether to go on."""
        with self._changed:
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._closing or self._waiting or self.running)
            return not self._closing

    def _admit(self) -> _Sequence | None:
        """Give the next in the queue a row, and copy in what is kept of its prompt."""
        with self._changed:
            if not self._waiting or len(self._active) == self.max_batch:
                return None
            sequence = _Sequence(self._waiting.popleft(), row=len(self._active))
            # Seen as running from here on, so that nobody finds it nowhere.
            self._joining = sequence
        generation = sequence.generation
        kept = self.prefixes.get(generation.prompt[: generation.constant])
        if kept is not None:
            self._decoding.cache.write(sequence.row, kept)
            sequence.cached = generation.reused_tokens = generation.constant
        return sequence

    def _fill(self, sequence: _Sequence) -> None:
        """Put the next chunk of the prompt into the cache; with the last one the sequence is in."""
        generation, cache = sequence.generation, self._decoding.cache
        # The last token is left for the first decode step, which then draws like every other.
        end = len(generation.prompt) - 1
        # A beginning that may be kept is cut the same way whatever follows it: what is computed from it does not
        # depend on whether it was kept, to the last bit.
        until = generation.constant if sequence.cached < generation.constant else end
        size = chunk_size(self.model, until)
        chunk = generation.prompt[sequence.cached : min(until, sequence.cached + size)]
        if chunk:
            ids_s = torch.tensor(chunk, device=self.model.device)
            self.model.chunk(ids_s, cache, sequence.row, sequence.cached)
            sequence.cached += len(chunk)
            generation.deliver([])  # a sign of life: on a CPU a long prompt takes minutes
        if sequence.cached < end:
            # Steps of the others may compute this row too; what they write there the next chunk overwrites.
            self._decoding.rows.end(sequence.row, sequence.cached)
            return
        head = generation.prompt[: generation.constant]
        if head and self.prefixes.max_tokens and head not in self.prefixes:
            self.prefixes.put(head, cache.read(sequence.row, len(head)))
        row = len(self._active)
        if sequence.row != row:
            cache.move(sequence.row, row, sequence.cached)
            self._decoding.rows.end(sequence.row)
            sequence.row = row
        draws = uniforms(generation.seed, generation.limit)
        self._decoding.rows.begin(row, generation.prompt, generation.options, draws)
        with self._changed:
            self._active.append(sequence)
            self._joining = None

    def _decode_block(self) -> None:
        """Draw up to a block of tokens for every row, then hand them out."""
        steps = min(self._block, *(sequence.left for sequence in self._active))
        done = 0
        while done < steps and not (done and self._should_look_up()):
            keys = max(s.cached for s in self._sequences()) + 1
            self._runner.step([sequence.need() for sequence in self._active], keys)
            done += 1
            for sequence in self._active:
                sequence.cached += 1
        self._hand_out(done)

    def _should_look_up(self) -> bool:
        """Whether somebody wants in or out before the block is over. A glance without the lock: it only comes early."""
        can_join = self._joining is not None or (self._waiting and len(self._active) < self.max_batch)
        return bool(can_join) or self._closing or any(s.generation.abandoned for s in self._active)

    def _hand_out(self, count: int) -> None:
        """Copy the last `count` tokens of every row off the device in one go; end those who are through."""
        rows = self._decoding.rows
        first = torch.tensor([[s.drawn] for s in self._active], device=self.model.device)
        columns = first + torch.arange(count, device=self.model.device)
        drawn = rows.drawn_bt[: len(self._active)].gather(1, columns).tolist()
        for sequence, ids in zip(list(self._active), drawn, strict=True):
            ended = self.layout.eos in ids
            if ended:
                ids = ids[: ids.index(self.layout.eos)]
            sequence.drawn += count
            if ids:
                sequence.generation.deliver(ids)
            if ended or not sequence.left:
                self._leave(sequence)
                sequence.generation.deliver("stop" if ended else "length")

    def _leave(self, sequence: _Sequence) -> None:
        """Free a row; the last row in use moves into the gap, so that rows in use stay in front."""
        last = self._active[-1]
        if last is not sequence:
            self._decoding.cache.move(last.row, sequence.row, last.cached)
            self._decoding.rows.move(last.row, sequence.row)
        self._decoding.rows.end(last.row)
        with self._changed:
            last.row, self._active[sequence.row] = sequence.row, last
            self._active.pop()

    def _drop_abandoned(self) -> None:
        with self._changed:
            self._waiting = deque(g for g in self._waiting if not g.abandoned)
            if self._joining is not None and self._joining.generation.abandoned:
                self._decoding.rows.end(self._joining.row)
                self._joining = None
        for sequence in [s for s in self._active if s.generation.abandoned]:
            self._leave(sequence)

    def _sequences(self) -> list[_Sequence]:
        return self._active if self._joining is None else [*self._active, self._joining]

    def _fail(self, error: EditXError) -> None:
        """Tell everyone who is in, and start afresh. Who waits is told too while closing, or when nobody was in, so
        that what fails every time does not go on for ever."""
        with self._changed:
            concerned = [s.generation for s in self._sequences()]
            if self._closing or not concerned:
                concerned += self._waiting
                self._waiting.clear()
            self._active, self._joining, self._stale = [], None, True
            self._changed.notify_all()
        for generation in concerned:
            # Each thread raises an error of its own, whose traceback no other one extends.
            told = copy(error)
            told.__cause__ = error.__cause__
            generation.deliver(told)

    def _stream(self) -> AbstractContextManager[object]:
        """A stream of its own on CUDA, so that decoding tokens and decoding audio overlap."""
        if self.model.device.type != "cuda":
            return nullcontext()
        stream = torch.cuda.Stream(self.model.device)
        stream.wait_stream(torch.cuda.current_stream(self.model.device))
        return torch.cuda.stream(stream)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def _as_told(error: Exception) -> EditXError:
    """What those concerned are told of an error in the scheduler."""
    if isinstance(error, EditXError):
        return error
    told: EditXError
    if isinstance(error, torch.OutOfMemoryError):
        told = OutOfMemory(
            "the device ran out of memory while generating; ask for less at once, or for a shorter result"
        )
    elif is_lost(error):
        told = DeviceLost(f"the device failed for good: {str(error).splitlines()[0]}")
    else:
        told = EngineFault(f"the language model failed: {error}")
    told.__cause__ = error
    return told
