"""Workers that behave: loading, running, several at once, cancelling, closing."""

import gc
import itertools
import os
import signal
import threading

import msgspec
import numpy as np
import pytest

from editx.audio.clip import Clip
from editx.cancellation import Cancellation
from editx.engines.base import Context, Memory, Progress, Sampling
from editx.errors import (
    Cancelled,
    EngineFault,
    InvalidRequest,
    LoadFailed,
    ModelUnloaded,
    OutOfMemory,
    Stalled,
    TooLarge,
)
from editx.processes.limits import Limits
from editx.recipe import Clone
from editx.worker.client import Finished
from tests.processes.harness import PATIENCE_S, Watch
from tests.worker.conftest import BOTH_WAYS


def do(model, command, clip, context=None):
    return model.run(Clone(command), clip, context or Context())


def audio(items):
    return [item for item in items if isinstance(item, Clip)]


def in_thread(work):
    """Run `work` on a thread; returns a function that waits for it and gives its result or raises its error."""
    outcome = {}

    def run():
        try:
            outcome["result"] = work()
        except BaseException as error:
            outcome["error"] = error

    thread = threading.Thread(target=run)
    thread.start()

    def join(patience=PATIENCE_S):
        thread.join(patience)
        assert not thread.is_alive()
        if "error" in outcome:
            raise outcome["error"]
        return outcome["result"]

    return join


@BOTH_WAYS
def test_audio_crosses_bit_by_bit(load, clip):
    model = load()
    items = list(do(model, "echo", clip))
    assert items[0] == Progress("preprocessing")
    assert items[1] == Progress("generation", 0.5, 1.0)
    assert isinstance(items[-1], Finished)
    (result,) = audio(items)
    assert result.rate == clip.rate
    assert result.samples.tobytes() == clip.samples.tobytes()
    assert result.samples.flags.writeable


@pytest.mark.parametrize("samples", [0, 1, 65_536, 65_537, 3_000_000])
def test_audio_of_any_length_arrives_whole_and_in_order(load, samples):
    clip = Clip(np.random.default_rng(1).standard_normal(samples).astype(np.float32), 44_100)
    model = load()
    for command in ("echo", "pieces:100000"):
        pieces = audio(do(model, command, clip))
        assert {piece.rate for piece in pieces} <= {44_100}
        assert b"".join(piece.samples.tobytes() for piece in pieces) == clip.samples.tobytes()


def test_a_clip_that_is_a_view_is_sent_as_it_reads(load, clip):
    backwards = Clip(clip.samples[::-2], clip.rate)
    (result,) = audio(do(load(), "echo", backwards))
    assert np.array_equal(result.samples, backwards.samples)


def test_the_context_crosses_whole(load, clip):
    context = Context(transcript="你好 [Laughter]", seed=2**63 - 1, sampling=Sampling(temperature=0.7), stream=False)
    stages = [item.stage for item in do(load(), "context", clip, context) if isinstance(item, Progress)]
    assert stages == ["preprocessing", f"你好 [Laughter]|{2**63 - 1}|0.7|False"]


def test_what_is_known_of_a_loaded_model(load, clip):
    model = load()
    assert model.sample_rate == 24_000
    assert model.memory() == Memory(gpu_allocated=0, gpu_reserved=2, gpu_peak=3)
    *_, finished = do(model, "echo", clip)
    assert finished.memory == model.memory() == Memory(gpu_allocated=1, gpu_reserved=2, gpu_peak=3)
    assert model.rss_bytes() > 5 << 20
    model.close()
    assert model.rss_bytes() == 0


def test_time_is_told_by_stage(load, clip):
    *_, finished = do(load(), "timed", clip)
    assert set(finished.timings) == {"preprocessing", "generation", "decoding"}
    assert 0.05 <= finished.timings["generation"] < PATIENCE_S
    assert 0.05 <= finished.timings["decoding"] < PATIENCE_S
    assert finished.timings["preprocessing"] < 0.05


def test_loading_tells_its_progress(load, gate):
    progress = []

    def on_progress(item):
        progress.append(item.fraction)
        gate.write(b"x")

    load(load="slowly", gate=gate.path, on_progress=on_progress)
    # Reports that come while nobody looks may be replaced by later ones; here each waits for the one before.
    assert progress == [0.0, 0.25, 0.5, 0.75]


def test_several_requests_run_at_once(load, clip, journal):
    model = load(journal=journal.path)
    streams = [do(model, f"endless:{i}", clip) for i in range(5)]
    for stream in streams:
        assert next(stream) == Progress("preprocessing")
    for i in range(5):
        journal.expect(f"began {i}")
    for _ in range(3):
        for stream in streams:
            assert isinstance(next(stream), Clip)
    assert audio(do(model, "echo", clip))[0].samples.tobytes() == clip.samples.tobytes()
    for i, stream in enumerate(streams):
        stream.close()
        journal.expect(f"freed {i}")


def test_cancelling_wakes_the_reader_and_stops_the_engine(load, clip, journal):
    model = load(journal=journal.path)
    cancellation = Cancellation()
    join = in_thread(lambda: list(do(model, "obedient:a", clip, Context(cancellation=cancellation))))
    journal.expect("began a")
    cancellation.cancel("the client has gone")
    with pytest.raises(Cancelled, match="the client has gone"):
        join()
    journal.expect("freed a")
    assert audio(do(model, "echo", clip))


def test_cancelling_stops_the_engine_though_nobody_reads(load, clip, journal):
    model = load(journal=journal.path)
    cancellation = Cancellation()
    stream = do(model, "endless:a", clip, Context(cancellation=cancellation))
    next(stream)
    journal.expect("began a")
    cancellation.cancel()
    journal.expect("freed a")
    with pytest.raises(Cancelled):
        list(stream)


def test_a_cancelled_request_is_never_sent(load, clip):
    cancellation = Cancellation()
    cancellation.cancel()
    with pytest.raises(Cancelled):
        next(do(load(), "exit:1", clip, Context(cancellation=cancellation)))


def test_leaving_the_iterator_stops_the_engine(load, clip, journal):
    model = load(journal=journal.path)
    stream = do(model, "endless:closed", clip)
    next(stream)
    journal.expect("began closed")
    stream.close()
    journal.expect("freed closed")
    for _ in do(model, "endless:dropped", clip):
        break
    gc.collect()
    journal.expect("freed dropped")


def test_a_slow_reader_holds_back_its_engine_and_nobody_else(load, clip, journal):
    model = load(journal=journal.path, stall_timeout=1.0)
    slow = do(model, "endless:slow", clip)
    next(slow)
    # The others take longer than the stall timeout, during which nobody reads `slow`.
    for _ in range(15):
        *_, finished = do(model, "timed", clip)
        assert finished.timings
    rss = model.rss_bytes()
    pieces = list(itertools.islice(slow, 2000))  # 19 MB, several windows
    assert all(isinstance(piece, Clip) for piece in pieces)
    assert model.rss_bytes() - rss < 64 << 20
    slow.close()
    journal.expect("freed slow")


def test_reports_nobody_takes_are_not_kept(load, clip):
    model = load()
    stream = do(model, "chatty:20000", clip)
    assert next(stream) == Progress("preprocessing")
    *_, finished = do(model, "chatty:20000", clip)
    assert isinstance(finished, Finished)
    fractions = [item.fraction for item in stream if isinstance(item, Progress)]
    assert fractions == sorted(fractions)
    assert fractions[-1] == 19_999 / 20_000


def test_an_error_of_the_caller_arrives_as_it_was_raised(load, clip):
    model = load()
    with pytest.raises(InvalidRequest, match=r"^this clip is silent$") as error:
        list(do(model, "refuse", clip))
    assert error.value.param == "input_audio"
    assert error.value.retry_after_s == 7.0
    assert audio(do(model, "echo", clip))


@pytest.mark.parametrize(
    ("command", "text"),
    [
        ("raise", "faulty failed during clone: ValueError: an axis is out of bounds"),
        ("sysexit", "faulty failed during clone: SystemExit: 3"),
        ("nonsense", "faulty failed during clone: TypeError: an engine yields Progress and Clip, not str"),
        ("nothing_like_this", "faulty failed during clone: AttributeError: .*"),
    ],
)
def test_a_defect_is_told_without_a_stack_and_logged_with_one(load, clip, log, command, text):
    model = load()
    with pytest.raises(EngineFault, match=f"^{text}$"):
        list(do(model, command, clip))
    log.wait_for("Traceback")
    assert {label for label, pid, _ in log.lines if pid == model.pid} == {"faulty"}
    assert audio(do(model, "echo", clip))


def test_memory_that_runs_out_fails_the_request_and_not_the_worker(load, clip):
    model = load(limits=Limits(address_space=1 << 30))
    with pytest.raises(OutOfMemory, match="ran out of memory during clone"):
        list(do(model, "allocate", clip))
    assert audio(do(model, "echo", clip))


def test_a_clip_that_fits_no_frame_is_refused(load):
    model = load()
    clip = Clip(np.zeros((1 << 26) + 1, np.float32), 48_000)
    with pytest.raises(TooLarge, match="256 MiB"):
        next(do(model, "echo", clip))
    assert audio(do(model, "echo", Clip(clip.samples[:10], 48_000)))


def test_closing_is_polite_and_final(load, clip, journal):
    model = load(journal=journal.path)
    stream = do(model, "endless:a", clip)
    next(stream)
    journal.expect("began a")
    watched = []
    model.watch(watched.append)
    watch = Watch([model.pid])
    model.close()
    journal.expect("freed a")
    journal.expect("closed")
    assert watch.wait_all_dead(0) == []
    with pytest.raises(ModelUnloaded, match="faulty was unloaded"):
        list(stream)
    with pytest.raises(ModelUnloaded):
        next(do(model, "echo", clip))
    model.close()
    model.kill()
    model.watch(watched.append)
    assert watched == []


def test_a_worker_that_will_not_close_is_killed_after_the_grace(load):
    model = load(close="hang", grace=0.2)
    watch = Watch([model.pid])
    model.close()
    assert watch.wait_all_dead(0) == []


def test_killing_ends_what_is_under_way(load, clip, journal, gate):
    model = load(journal=journal.path, gate=gate.path)
    join = in_thread(lambda: list(do(model, "gated:a", clip)))
    journal.expect("began a")
    watched = []
    model.watch(watched.append)
    watch = Watch([model.pid])
    model.kill()
    with pytest.raises(ModelUnloaded):
        join()
    model.close()
    assert watch.wait_all_dead(0) == []
    assert watched == []


def test_a_load_can_be_aborted(factory, gate):
    begun = threading.Event()
    make = factory(load="hang", on_progress=lambda progress: begun.set())
    join = in_thread(make)
    assert begun.wait(PATIENCE_S)
    make.cancel()
    with pytest.raises(Cancelled, match="the load of faulty was aborted"):
        join()
    make.cancel()


def test_a_factory_can_be_used_after_an_aborted_load(factory, gate, clip):
    begun = threading.Event()
    make = factory(load="slowly", gate=gate.path, on_progress=lambda progress: begun.set())
    join = in_thread(make)
    assert begun.wait(PATIENCE_S)
    make.cancel()
    with pytest.raises(Cancelled):
        join()
    gate.write(b"xxx")
    model = make()
    assert audio(do(model, "echo", clip))
    model.close()


@pytest.mark.parametrize(
    ("fault", "kind", "text"),
    [
        ("raise", LoadFailed, "faulty could not be loaded: RuntimeError: the weights are for another model"),
        ("refuse", LoadFailed, "the checksum of model.safetensors is wrong"),
        ("missing", LoadFailed, "no weights below models/"),
        ("out of memory", OutOfMemory, "12 GB are needed, 3 are free"),
        ("allocate", OutOfMemory, "faulty does not fit: memory ran out while loading it"),
    ],
)
def test_an_engine_that_cannot_load_says_why(factory, fault, kind, text):
    with pytest.raises(LoadFailed, match=f"^{text}$") as error:
        factory(load=fault, limits=Limits(address_space=1 << 30))()
    assert type(error.value) is kind


def test_an_engine_that_does_not_exist_fails_to_load(launcher):
    from editx.engines.catalog import VariantSpec
    from editx.worker.client import WorkerFactory

    spec = VariantSpec("ghost", "", "no_such_module:open_engine")
    with pytest.raises(LoadFailed, match="ghost could not be loaded: ModuleNotFoundError"):
        WorkerFactory(spec, launcher, stall_timeout=PATIENCE_S)()


def test_loading_without_a_sign_of_life_is_a_stall(factory):
    for fault in ("hang", "stop"):
        with pytest.raises(Stalled, match=r"gave no sign of life for 1\.5 s during the load and was killed"):
            factory(load=fault, stall_timeout=1.5)()


def test_options_cross_unchanged(load, clip):
    options = {"path": "/x", "n": 3, "f": 0.5, "flag": True, "none": None, "list": [1, "a"], "map": {"k": "v"}}
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(options)) == options
    assert audio(do(load(**options), "echo", clip))


def test_an_interrupt_of_the_terminal_is_left_to_the_server(load, clip):
    model = load()
    os.kill(model.pid, signal.SIGINT)
    assert audio(do(model, "echo", clip))
