"""The studio: one recipe in, progress and sound out.

Everything that touches EditX (API, page, command line) asks the same `Studio`, so all of them share one model.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from editx.audio.clip import Clip
from editx.audio.join import Joiner
from editx.audio.stretch import Stretcher
from editx.backends.base import Backend, Queued, Session, Waking
from editx.cancellation import Cancellation
from editx.engines.base import Context, Progress, Sampling
from editx.engines.catalog import VariantSpec, find, first_available
from editx.errors import EngineFault, InvalidRequest, LoadFailed, ModelCrashed, NotFound, TooLarge
from editx.recipe import AnyStep, Clone, Paralinguistic, Recipe
from editx.text import spelled_tags, split_speech, strip_tags
from editx.voices.library import MAX_TRANSCRIPT_CHARS
from editx.worker.model import Finished

MAX_SEED = 2**63 - 1
FinishReason = Literal["stop", "length"]


@dataclass(frozen=True, slots=True)
class Job:
    """A recipe and how to run it.

    `variant`: None takes the studio's default. `seed`: 0 to 2**63 - 1, None draws one. `keep_alive`: seconds the model
    stays after this use, 0 unloads it at once, negative keeps it, None leaves the setting. `tempo`: the result is
    played this many times faster at the same pitch, 0.25 to 4. `keep_iterations`: whether `Result.iterations` holds
    every step's result. `stream`: whether somebody hears the result while it is made (see `Context.stream`).
    """

    recipe: Recipe
    variant: str | None = None
    seed: int | None = None
    keep_alive: float | None = None
    sampling: Sampling = field(default_factory=Sampling)
    tempo: float = 1.0
    keep_iterations: bool = False
    stream: bool = True

    def __post_init__(self) -> None:
        """Raises InvalidRequest for a seed or tempo out of range."""
        if self.seed is not None and not 0 <= self.seed <= MAX_SEED:
            raise InvalidRequest(f"a seed is a whole number from 0 to 2**63 - 1, not {self.seed}", param="seed")
        if not 0.25 <= self.tempo <= 4.0:
            raise InvalidRequest(f"speed is a factor from 0.25 to 4, not {self.tempo}", param="speed")


@dataclass(frozen=True, slots=True)
class Started:
    """The model is there and the work begins."""

    variant: str
    seed: int
    queue_seconds: float
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Working:
    """Progress of step `step` of `steps`, both counted over the whole recipe and all parts of a long text."""

    step: int
    steps: int
    kind: str
    progress: Progress


@dataclass(frozen=True, slots=True)
class Audio:
    """The next piece of the result."""

    clip: Clip


Event = Queued | Waking | Started | Working | Audio
Emit = Callable[[Event], None]


@dataclass(frozen=True, slots=True)
class Iteration:
    """What one step made, and the words now spoken."""

    step: AnyStep
    clip: Clip
    transcript: str


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of a job went, in seconds; the stages are the engine's own."""

    queue: float
    load: float
    preprocessing: float
    generation: float
    decoding: float
    first_audio: float
    total: float


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a job. `clip` is what the emitted audio adds up to. `finish_reason`: `length` where the result of
    a step reached its limit and was cut there."""

    clip: Clip
    transcript: str
    variant: str
    seed: int
    timings: Timings
    iterations: tuple[Iteration, ...] = ()
    finish_reason: FinishReason = "stop"


class Studio:
    """Runs jobs on a backend. Thread-safe: every job runs in its caller's thread."""

    def __init__(self, backend: Backend, *, default_variant: str = "auto", max_text_chars: int = 20_000) -> None:
        self.backend = backend
        self._default_variant = default_variant
        self._max_text_chars = max_text_chars

    def variant(self, name: str | None = None) -> VariantSpec:
        """The variant a request that says `name` gets: the default one for None.

        Raises NotFound naming the known ones, LoadFailed with the reason when it cannot be loaded here.
        """
        specs = self.backend.catalog()
        if name is None:
            if self._default_variant == "auto":
                return first_available(specs)
            name = self._default_variant
        spec = find(specs, name)
        if spec is None:
            known = ", ".join(spec.name for spec in specs)
            raise NotFound(f"there is no variant {name!r}; known: {known}", param="variant")
        if not spec.available:
            raise LoadFailed(f"variant {name!r} cannot be loaded here: {spec.reason}", param="variant")
        return spec

    def run(self, job: Job, emit: Emit, cancellation: Cancellation) -> Result:
        """Run `job` and return its result; `emit` hears what happens meanwhile, `Audio` in order from this thread.

        A job whose worker dies before any audio left is run once more from the step it was at. Raises EditXError.
        """
        self._check_lengths(job.recipe)
        variant = self.variant(job.variant).name
        work = _Work(job, emit, cancellation)
        while True:
            try:
                with self.backend.session(
                    variant, keep_alive=job.keep_alive, cancellation=cancellation, notify=emit
                ) as session:
                    return work.proceed(session)
            except ModelCrashed:
                if not work.may_run_again():
                    raise

    def _check_lengths(self, recipe: Recipe) -> None:
        limit = self._max_text_chars
        for step in recipe.steps:
            if len(step.new_text) > limit:
                raise TooLarge(
                    f"a text has at most {limit} characters here, and this one {len(step.new_text)}", param="text"
                )
        limit = max(limit, MAX_TRANSCRIPT_CHARS)  # what a voice of the library may have is never too much
        if len(recipe.source.transcript) > limit:
            raise TooLarge(
                f"a transcript has at most {limit} characters here, and this one {len(recipe.source.transcript)}",
                param="transcript",
            )


class _Work:
    """One job under way. `proceed` goes on from the step that was not finished yet."""

    def __init__(self, job: Job, emit: Emit, cancellation: Cancellation) -> None:
        self._job = job
        self._emit = emit
        self._cancellation = cancellation
        self._seed = secrets.randbelow(2**31) if job.seed is None else job.seed
        self._parts = _parts(job.recipe.steps)
        self._done = 0
        self._clip = job.recipe.source.clip
        self._transcript = job.recipe.source.transcript
        self._results: dict[int, list[tuple[Clip, str]]] = {}
        self._chunks: list[Clip] = []
        self._stages = {"preprocessing": 0.0, "generation": 0.0, "decoding": 0.0}
        self._waited = {"queue": 0.0, "load": 0.0}
        self._began = time.monotonic()
        self._first_audio: float | None = None
        self._output = _Output(job.tempo, self._audio)
        self._runs_left = 1
        self._cut = False

    def may_run_again(self) -> bool:
        """Whether the work may be given to another worker, once."""
        self._runs_left -= 1
        return self._runs_left >= 0 and self._first_audio is None

    def proceed(self, session: Session) -> Result:
        self._waited["queue"] += session.queue_seconds
        self._waited["load"] += session.load_seconds
        self._emit(Started(session.variant, self._seed, **{f"{k}_seconds": v for k, v in self._waited.items()}))
        self._output = self._output_so_far()
        per_part = len(self._parts[0])
        for index in range(self._done, len(self._parts) * per_part):
            part, position = divmod(index, per_part)
            if position == 0:
                self._clip, self._transcript = self._job.recipe.source.clip, self._job.recipe.source.transcript
            last = position == per_part - 1
            self._step(session, self._parts[part][position], index, heard=last)
            if last:
                self._output.end_part(more=part + 1 < len(self._parts))
            if last or self._job.keep_iterations:
                self._results.setdefault(position, []).append((self._clip, self._transcript))
            self._done = index + 1
        return self._result(session.variant)

    def _output_so_far(self) -> _Output:
        """An output that holds the parts that are done, and nothing of the one that a worker died at."""
        output = _Output(self._job.tempo, self._audio)
        for clip, _ in self._results.get(len(self._parts[0]) - 1, ()):
            output.write(clip)
            output.end_part(more=True)
        return output

    def _step(self, session: Session, step: AnyStep, index: int, *, heard: bool) -> None:
        """Run one step on the current clip, then make its result the current clip."""
        transcript = self._transcript if isinstance(step, Paralinguistic) else strip_tags(self._transcript)
        context = Context(transcript, self._seed, self._job.sampling, heard and self._job.stream, self._cancellation)
        total = len(self._parts) * len(self._parts[0])
        chunks: list[Clip] = []
        for item in session.run(step, self._clip, context):
            if isinstance(item, Clip):
                chunks.append(item)
                if heard:
                    self._output.write(item)
            elif isinstance(item, Finished):
                for stage, seconds in item.timings.items():
                    self._stages[stage] = self._stages.get(stage, 0.0) + seconds
            else:
                self._cut = self._cut or item.cut
                self._emit(Working(index + 1, total, step.kind, item))
        if not sum(len(chunk.samples) for chunk in chunks):
            raise EngineFault(f"the engine made no sound for {step.kind}; try another seed or a longer recording")
        self._clip = Clip.join(chunks)
        self._transcript = step.new_text.strip() or self._transcript

    def _audio(self, clip: Clip) -> None:
        if self._first_audio is None:
            self._first_audio = time.monotonic() - self._began
        self._chunks.append(clip)
        self._emit(Audio(clip))

    def _words_after(self, position: int) -> str:
        """What is said after the step at `position`. Several parts say what was to be cloned, whatever follows it."""
        if len(self._parts) > 1:
            return _spelled(self._job.recipe.steps[0]).new_text.strip()
        ((_, transcript),) = self._results[position]
        return transcript

    def _result(self, variant: str) -> Result:
        iterations = []
        for position in sorted(self._results) if self._job.keep_iterations else ():
            clips = [clip for clip, _ in self._results[position]]
            iterations.append(Iteration(self._job.recipe.steps[position], _joined(clips), self._words_after(position)))
        return Result(
            clip=Clip.join(self._chunks),
            transcript=self._words_after(len(self._parts[0]) - 1),
            variant=variant,
            seed=self._seed,
            timings=Timings(
                queue=self._waited["queue"],
                load=self._waited["load"],
                preprocessing=self._stages["preprocessing"],
                generation=self._stages["generation"],
                decoding=self._stages["decoding"],
                first_audio=self._first_audio or 0.0,
                total=time.monotonic() - self._began,
            ),
            iterations=tuple(iterations),
            finish_reason="length" if self._cut else "stop",
        )


class _Output:
    """Joins the parts of a long text, changes the tempo, and passes on what is not empty."""

    def __init__(self, tempo: float, send: Callable[[Clip], None]) -> None:
        self._tempo = tempo
        self._send = send
        self._joiner: Joiner | None = None
        self._stretcher: Stretcher | None = None

    def write(self, clip: Clip) -> None:
        if self._joiner is None:
            self._joiner = Joiner(clip.rate)
            self._stretcher = Stretcher(clip.rate, self._tempo)
        self._pass(self._joiner.write(clip))

    def end_part(self, *, more: bool) -> None:
        """The current part is complete; `more` follow, or this was the last."""
        assert self._joiner is not None
        assert self._stretcher is not None
        if more:
            self._pass(self._joiner.next())
        else:
            self._pass(self._joiner.finish())
            self._forward(self._stretcher.finish())

    def _pass(self, clip: Clip) -> None:
        assert self._stretcher is not None
        self._forward(self._stretcher.write(clip))

    def _forward(self, clip: Clip) -> None:
        if len(clip.samples):
            self._send(clip)


def _parts(steps: tuple[AnyStep, ...]) -> list[tuple[AnyStep, ...]]:
    """The chains to run one after the other: a long text to clone is split at sentences, and what follows is applied
    to each part, so that no clip outgrows the model and sound leaves early. A paralinguistic step has the whole text in
    it and keeps everything in one piece."""
    first, *rest = map(_spelled, steps)
    if not isinstance(first, Clone) or any(isinstance(step, Paralinguistic) for step in rest):
        return [(first, *rest)]
    return [(Clone(text), *rest) for text in split_speech(first.text)]


def _spelled(step: AnyStep) -> AnyStep:
    """The step with the tags of its text as the models know them."""
    if isinstance(step, Clone | Paralinguistic):
        return type(step)(spelled_tags(step.text))
    return step


def _joined(clips: Sequence[Clip]) -> Clip:
    """The parts of one iteration, joined as the output is."""
    joiner = Joiner(clips[0].rate)
    pieces = []
    for clip in clips[:-1]:
        pieces += [joiner.write(clip), joiner.next()]
    return Clip.join([*pieces, joiner.write(clips[-1]), joiner.finish()])
