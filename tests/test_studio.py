"""The studio on a real backend: recipes in, events and sound out."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.backends.base import Queued, Waking
from editx.backends.local import LocalBackend
from editx.cancellation import Cancellation
from editx.errors import Cancelled, InvalidRequest, LoadFailed, NotFound, TooLarge
from editx.processes.launcher import Launcher
from editx.processes.process import Child
from editx.recipe import AnyStep, Clone, Denoise, Emotion, Paralinguistic, Recipe, Source, Speed, Vad
from editx.settings import load_settings
from editx.studio import Audio, Event, Job, Result, Started, Studio, Working

SENTENCE = "The boat left the harbour before the sun came up. "


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalBackend]:
    settings = load_settings(model_path=tmp_path_factory.mktemp("models"))
    with (
        Launcher(preload=("editx.worker.host",)) as launcher,
        contextlib.closing(LocalBackend(settings, launcher, lambda event: None)) as backend,
    ):
        yield backend


@pytest.fixture(scope="module")
def studio(backend: LocalBackend) -> Studio:
    return Studio(backend, max_text_chars=2_000)


@pytest.fixture(scope="module")
def source(speech: tuple[Clip, str]) -> Source:
    return Source(*speech)


def run(studio: Studio, source: Source, *steps: AnyStep, **options: object) -> tuple[Result, list[Event]]:
    events: list[Event] = []
    result = studio.run(Job(Recipe(source, steps), seed=1, **options), events.append, Cancellation())  # type: ignore[arg-type]
    return result, events


def test_events_tell_the_story_and_the_pieces_are_the_result(studio: Studio, source: Source) -> None:
    result, events = run(studio, source, Clone("One two three."), Emotion("happy"))
    kinds = [type(event) for event in events if not isinstance(event, Queued | Waking)]
    assert kinds[0] is Started
    assert next(event.kind for event in events if isinstance(event, Working)) == "clone"
    assert {(event.step, event.steps) for event in events if isinstance(event, Working)} == {(1, 2), (2, 2)}
    pieces = Clip.join([event.clip for event in events if isinstance(event, Audio)])
    assert np.array_equal(pieces.samples, result.clip.samples)
    timings = result.timings
    assert 0 < timings.first_audio <= timings.total
    assert timings.generation > 0
    assert timings.queue + timings.load + timings.preprocessing + timings.generation <= timings.total
    assert (result.variant, result.seed, result.transcript) == ("lite", 1, "One two three.")


def test_a_cold_start_is_told_while_it_lasts(studio: Studio, backend: LocalBackend, source: Source) -> None:
    backend.unload("lite")
    result, events = run(studio, source, Vad())
    assert any(isinstance(event, Waking) for event in events)
    assert result.timings.load > 0
    warm, events = run(studio, source, Vad())
    assert not any(isinstance(event, Waking) for event in events)
    assert warm.timings.load == 0


def test_long_text_is_edited_part_by_part_and_sound_leaves_early(studio: Studio, source: Source) -> None:
    result, events = run(studio, source, Clone(SENTENCE * 12), Emotion("sad"), keep_iterations=True)
    total = next(event.steps for event in events if isinstance(event, Working))
    assert total >= 4
    first = next(i for i, event in enumerate(events) if isinstance(event, Audio))
    assert any(isinstance(event, Working) and event.step > 2 for event in events[first:])
    cloned, sad = result.iterations
    assert sad.clip.seconds == pytest.approx(result.clip.seconds, abs=0.01)
    assert cloned.clip.seconds > 25
    assert cloned.transcript == sad.transcript == result.transcript == (SENTENCE * 12).strip()


def test_a_paralinguistic_step_keeps_the_text_in_one_piece(studio: Studio, source: Source) -> None:
    text = SENTENCE * 8
    result, events = run(studio, source, Clone(text), Paralinguistic(f"{text} [Laughter]"))
    assert {event.steps for event in events if isinstance(event, Working)} == {2}
    assert result.transcript.endswith("[Laughter]")


def test_what_the_engine_is_told_holds_for_the_whole_text(studio: Studio, source: Source) -> None:
    """A sentence without kana among Japanese ones is Japanese; a tag in other letters is the tag."""
    address = "東京都千代田区霞関一丁目二番三号中央合同庁舎第五号館。"
    spoken = "昨日は友達と映画を見に行きました、とても楽しかったです。"
    whole, first, japanese, chinese = (
        run(studio, source, Clone(text))[0] for text in (spoken + address, spoken, f"[Japanese]{address}", address)
    )
    second = whole.clip.seconds - first.clip.seconds
    assert abs(second - japanese.clip.seconds) < abs(second - chinese.clip.seconds) / 3
    assert whole.transcript == spoken + address
    result, _ = run(studio, source, Clone("Well [LAUGH] then."))
    assert result.transcript == "Well [laugh] then."


def test_tempo_stretches_the_result_only(studio: Studio, source: Source) -> None:
    plain, _ = run(studio, source, Speed("slower"))
    fast, _ = run(studio, source, Speed("slower"), tempo=2.0, keep_iterations=True)
    assert fast.clip.seconds == pytest.approx(plain.clip.seconds / 2, rel=0.01)
    assert fast.iterations[0].clip.seconds == pytest.approx(plain.clip.seconds, abs=0.01)


def test_steps_follow_each_other(studio: Studio, source: Source) -> None:
    result, _ = run(studio, source, Denoise(), Speed("faster"), Speed("faster"), keep_iterations=True)
    lengths = [iteration.clip.seconds for iteration in result.iterations]
    assert lengths[0] > lengths[1] > lengths[2]
    assert [iteration.transcript for iteration in result.iterations] == [source.transcript] * 3


def test_cancelling_stops_the_work_and_gives_the_model_back(
    studio: Studio, backend: LocalBackend, source: Source
) -> None:
    cancellation = Cancellation()
    heard = 0

    def emit(event: Event) -> None:
        nonlocal heard
        if isinstance(event, Audio):
            heard += 1
            cancellation.cancel("enough")

    with pytest.raises(Cancelled, match="enough"):
        studio.run(Job(Recipe(source, (Clone(SENTENCE * 30),))), emit, cancellation)
    assert heard <= 2
    assert backend.status()["lite"]["leases"] == 0
    with pytest.raises(Cancelled):
        studio.run(Job(Recipe(source, (Vad(),))), emit, cancellation)


def test_variants(studio: Studio, source: Source) -> None:
    assert studio.variant().name == "lite"
    with pytest.raises(NotFound, match="lite"):
        studio.variant("huge")
    with pytest.raises(LoadFailed, match="Step-Audio-EditX"):
        run(studio, source, Vad(), variant="base")


def test_weights_that_arrive_are_seen(tmp_path: Path) -> None:
    settings = load_settings(model_path=tmp_path)
    with (
        Launcher(zygote=False) as launcher,
        contextlib.closing(LocalBackend(settings, launcher, lambda event: None)) as backend,
    ):
        before = backend.status()["awq"]["reason"]
        for name in ("Step-Audio-EditX-AWQ-4bit", "Step-Audio-Tokenizer"):
            (tmp_path / name).mkdir()
            (tmp_path / name / "config.json").write_text("{}")
        assert "no weights" in before
        row = backend.status()["awq"]
        assert not row["available"], "half a download is no variant"
        assert "tokenizer.model" in row["reason"]
        assert "editx pull --variant awq" in row["reason"]


class HungLauncher(Launcher):
    """Its first launch takes until it is let through, as on a disk that does not answer."""

    def __init__(self) -> None:
        super().__init__(zygote=False, zygote_timeout=0.5)
        self.let_through = threading.Event()

    def launch(self, *args: Any, **options: Any) -> Child:
        assert self.let_through.wait(60)
        return super().launch(*args, **options)


def test_a_load_that_hangs_before_there_is_a_worker_is_given_up(tmp_path: Path) -> None:
    settings = load_settings(model_path=tmp_path, stall_timeout=30)
    with (
        HungLauncher() as launcher,
        contextlib.closing(LocalBackend(settings, launcher, lambda event: None)) as patient,
    ):
        with contextlib.closing(
            LocalBackend(settings.model_copy(update={"stall_timeout": 0.5}), launcher, lambda event: None)
        ) as backend:
            with pytest.raises(LoadFailed, match=r"loading lite gave no sign of life for 1\.0 s"):
                backend.load("lite")
            launcher.let_through.set()
            backend.unload("lite")
            assert backend.status()["lite"]["pid"] is None
        patient.load("lite")
        assert patient.status()["lite"]["loaded"]


def test_limits(studio: Studio, source: Source) -> None:
    with pytest.raises(TooLarge, match="2000 characters"):
        run(studio, source, Clone("x" * 2_001))
    with pytest.raises(TooLarge, match="a transcript has at most 4000 characters here, and this one 4001") as caught:
        run(studio, Source(source.clip, "x" * 4_001), Emotion("sad"))
    assert caught.value.param == "transcript"
    run(studio, Source(source.clip, "I said it. " * 200), Vad())
    for bad in ({"tempo": 5.0}, {"tempo": float("nan")}):
        with pytest.raises(InvalidRequest, match=r"0\.25 to 4"):
            run(studio, source, Vad(), **bad)
    with pytest.raises(InvalidRequest, match="seed"):
        Job(Recipe(source, (Vad(),)), seed=-1)
