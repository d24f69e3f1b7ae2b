"""The decoder in children of the server's launcher keeps every promise it makes in its own."""

from __future__ import annotations

import os
import tempfile
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import psutil
import pytest

from editx.audio.child import ChildFailed, ChildTimedOut
from editx.audio.codec import AudioLimits, Decoder
from editx.audio.launched import launched
from editx.cancellation import Cancellation
from editx.errors import Cancelled, TooLarge, UndecodableAudio
from editx.processes.launcher import Launcher
from tests.audio.sounds import muxed, silence_bomb, snr_db, speech_like, tone, wav_file

ME = "tests.audio.test_launched"


@pytest.fixture(scope="module", params=[True, False], ids=["zygote", "plain"])
def launcher(request: pytest.FixtureRequest) -> Iterator[Launcher]:
    with Launcher(zygote=request.param, preload=("editx.audio.decode_child",)) as opened:
        opened.call("tests.processes.entries:echo", b"", label="echo", timeout=60)  # waits for the zygote's imports
        yield opened


def hog(payload: bytes) -> bytes:
    return bytes(16 << 30)


def spin(payload: bytes) -> bytes:
    while True:
        pass


def crash(payload: bytes) -> bytes:
    os.kill(os.getpid(), 11)
    return b""


def environment(payload: bytes) -> bytes:
    return repr(dict(os.environ)).encode()


def scribble(payload: bytes) -> bytes:
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(b"x")
    return b"written"


def test_files_are_decoded(launcher: Launcher) -> None:
    decoder = Decoder(launched(launcher))
    clip = speech_like(2.0, 44_100)
    decoded = decoder.decode(muxed(clip, "mp3", "libmp3lame"))
    assert decoded.rate == 44_100
    assert snr_db(clip.samples, decoded.samples) > 12
    large = np.random.default_rng(0).uniform(-1, 1, 5_000_000).astype(np.float32)
    assert np.array_equal(decoder.decode(wav_file(large)).samples, large)


def test_errors_are_the_same(launcher: Launcher) -> None:
    with pytest.raises(UndecodableAudio, match="playlist"):
        Decoder(launched(launcher)).decode(b"#EXTM3U\n/etc/passwd\n")
    with pytest.raises(TooLarge, match="more than 1 s"):
        Decoder(launched(launcher), AudioLimits(max_seconds=1)).decode(wav_file(tone(2.0).samples))


def test_limits_hold(launcher: Launcher) -> None:
    run = launched(launcher)
    with pytest.raises(ChildFailed):
        run(f"{ME}:hog", b"", limits=AudioLimits(), timeout=30)
    with pytest.raises(ChildTimedOut):
        run(f"{ME}:spin", b"", limits=AudioLimits(), timeout=1)
    with pytest.raises(ChildFailed) as caught:
        run(f"{ME}:spin", b"", limits=AudioLimits(cpu_seconds=1), timeout=30)
    assert caught.value.signal is not None
    with pytest.raises(ChildFailed):
        run(f"{ME}:scribble", b"", limits=AudioLimits(), timeout=30)


def test_the_rate_of_a_file_costs_no_memory(launcher: Launcher) -> None:
    """Nearly two minutes at 384 kHz in some kilobytes: what they cost is two minutes at 48 kHz, once."""
    bomb = silence_bomb("flac", "flac", 110, 384_000)
    assert len(bomb) < 30_000
    tracemalloc.start()
    try:
        clip = Decoder(launched(launcher)).decode(bomb)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert (clip.rate, len(clip.samples)) == (48_000, 110 * 48_000)
    assert peak < 1.5 * clip.samples.nbytes


def test_a_file_that_nobody_waits_for_is_given_up(launcher: Launcher) -> None:
    cancellation = Cancellation()
    before = set(psutil.Process().children(recursive=True))
    with ThreadPoolExecutor(1) as pool:
        run = launched(launcher, cancellation)
        asked = pool.submit(run, f"{ME}:spin", b"", limits=AudioLimits(), timeout=25)
        while not (children := set(psutil.Process().children(recursive=True)) - before):
            assert not asked.done()
        cancellation.cancel("the client left")
        with pytest.raises(Cancelled):
            asked.result(15)
    assert psutil.wait_procs(children, timeout=15)[1] == []
    with pytest.raises(Cancelled):
        run(f"{ME}:spin", b"", limits=AudioLimits(), timeout=25)


def test_a_crash_blames_the_file(launcher: Launcher) -> None:
    run = launched(launcher)
    with pytest.raises(ChildFailed) as caught:
        run(f"{ME}:crash", b"", limits=AudioLimits(), timeout=30)
    assert caught.value.signal == 11


def test_the_child_does_not_see_the_environment(launcher: Launcher) -> None:
    assert run_environment(launcher) == b"{}"


def run_environment(launcher: Launcher) -> bytes:
    return launched(launcher)(f"{ME}:environment", b"", limits=AudioLimits(), timeout=30)


def test_a_zygote_at_its_imports_delays_no_upload(slow_import: Callable[[], object]) -> None:
    clip = tone(0.5)
    with Launcher(preload=("tests.processes.slow",)) as busy:
        decoded = Decoder(launched(busy)).decode(wav_file(clip.samples))
        slow_import()
    assert np.array_equal(decoded.samples, clip.samples)
