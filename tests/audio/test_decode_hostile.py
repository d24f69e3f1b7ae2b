"""Whatever the bytes: a clip or a clear error, in bounded time and memory."""

from __future__ import annotations

import base64
import http.server
import io
import os
import struct
import subprocess
import sys
import tempfile
import threading
import time
import zlib
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from editx.audio import child, decode_child
from editx.audio.child import ChildFailed, ChildTimedOut, run_child
from editx.audio.clip import Clip
from editx.audio.codec import AudioLimits, Decoder
from editx.errors import EditXError, EngineFault, TooLarge, UndecodableAudio
from tests.audio.sounds import muxed, silence_bomb, tone, wav_file

DECODER = Decoder()
_NOISE = np.random.default_rng(7)


def in_process(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
    """The child's work without the child, for as many files as fuzzing needs."""
    return decode_child.decode(payload)


@pytest.mark.parametrize(
    "data",
    [
        b"\0",
        bytes(100_000),
        _NOISE.bytes(50_000),
        b"RIFF",
        b"RIFF\xff\xff\xff\xffWAVEfmt ",
        b"OggS" + _NOISE.bytes(5000),
        b"fLaC" + _NOISE.bytes(5000),
        b"ID3\x04\0\0\x7f\x7f\x7f\x7f" + _NOISE.bytes(500),
        b"\x1aE\xdf\xa3" + _NOISE.bytes(5000),
        b"\0\0\0\x20ftypM4A " + _NOISE.bytes(5000),
        wav_file(np.zeros(0, np.int16)),
        wav_file(tone().samples, declared_rate=0),
        wav_file(tone().samples, declared_rate=999),
        wav_file(tone().samples, declared_rate=0x7FFFFFFF),
    ],
    ids=range(14),
)
def test_what_is_no_audio_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(UndecodableAudio) as caught:
        DECODER.decode(data)
    assert caught.value.param == "file"
    assert "expected a recording" in caught.value.message


@pytest.mark.parametrize("share", [0.9, 0.6, 0.4])
@pytest.mark.parametrize("kind", [("mp3", "libmp3lame"), ("flac", "flac"), ("ogg", "libopus"), ("wav", "pcm_s16le")])
def test_a_truncated_file_yields_what_it_still_holds(kind: tuple[str, str], share: float) -> None:
    whole = muxed(tone(4.0, 48_000), *kind)
    clip = DECODER.decode(whole[: int(len(whole) * share)])
    assert share * 4 - 1.2 <= clip.seconds <= share * 4 + 1.2


def test_a_truncated_mp4_without_its_index_is_refused() -> None:
    whole = muxed(tone(2.0, 48_000), "mp4", "aac")
    with pytest.raises(UndecodableAudio, match="MP4"):
        DECODER.decode(whole[: len(whole) // 2])


def test_a_header_that_declares_ten_hours_is_not_believed() -> None:
    clip = DECODER.decode(wav_file(tone(1.0).samples, declared_bytes=10 * 3600 * 24_000 * 4))
    assert clip.seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.parametrize(("container", "codec", "seconds"), [("flac", "flac", 3600), ("ogg", "libopus", 600)])
def test_hours_of_silence_stop_at_the_limit(container: str, codec: str, seconds: int) -> None:
    bomb = silence_bomb(container, codec, seconds)
    assert len(bomb) < seconds * 300
    decoder = Decoder(limits=AudioLimits(max_seconds=20))
    started = time.monotonic()
    with pytest.raises(TooLarge, match="more than 20 s of audio at 48000 Hz"):
        decoder.decode(bomb)
    assert time.monotonic() - started < 10


def test_the_limit_on_samples_holds_where_seconds_would_allow_more() -> None:
    with pytest.raises(TooLarge, match="more than 1 s of audio"):
        Decoder(limits=AudioLimits(max_samples=24_000)).decode(wav_file(tone(2.0).samples))


# An swf whose damaged tags make the library count streams that it does not have.
MUTANT = (
    "eNpzCw9mYWBwYCtg4GlgYKhlYOAqEHfj5tOzEmRgYGC5AiQa/v//X/+b4QhQqoExfYtgg2YZz2rzhg0MHJNmVzXkbnpnWw9Uwc8vx/gA"
    "pPLHBwaG//8NGP4VsNe/b+DnZ2AQfHH8/+/9/0Gq/s+oANoCBnIgosfGxqYKTrHXH+f/DlKGroYBKgm12wBsN8NpkN0fGET5wXYzMADt"
    "BKn/DLPzP8RO/EbbVFHfZVVUchmQ0qSF9aDIAJmkDFIApP/3gCIOzRqYJHIQAABCBrmy"
)


def test_what_the_decoder_trips_over_is_the_files_fault(capfd: pytest.CaptureFixture[str]) -> None:
    file = zlib.decompress(base64.b64decode(MUTANT))
    with pytest.raises(UndecodableAudio, match="broke down"):
        DECODER.decode(file)
    with pytest.raises(UndecodableAudio):
        Decoder(in_process).decode(file)
    assert "decoding broke down: IndexError(" in capfd.readouterr().err


def test_a_high_rate_does_not_outgrow_the_limit_on_seconds() -> None:
    with pytest.raises(TooLarge, match="more than 1 s of audio at 48000 Hz"):
        Decoder(limits=AudioLimits(max_seconds=1)).decode(wav_file(tone(1.5, 384_000).samples, 384_000))


@pytest.fixture
def visited():
    """A local server that remembers what was asked of it."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", paths
    server.shutdown()
    thread.join()
    server.server_close()


def test_files_that_name_other_files_or_addresses_open_nothing(visited, tmp_path) -> None:
    url, paths = visited
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav_file(tone().samples))
    for target in ("/etc/passwd", str(secret), f"file://{secret}", f"{url}/a.wav", f"concat:{secret}"):
        for text in (
            f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{target}\n#EXT-X-ENDLIST\n",
            f"ffconcat version 1.0\nfile '{target}'\n",
            f'<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period><AdaptationSet>'
            f'<Representation id="1"><BaseURL>{target}</BaseURL></Representation></AdaptationSet></Period></MPD>',
            f"v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=audio 5004 RTP/AVP 0\na=control:{target}\n",
            f"[playlist]\nFile1={target}\n",
        ):
            with pytest.raises(UndecodableAudio):
                Decoder(in_process).decode(text.encode())
    assert paths == []


def test_a_video_without_sound_is_told_from_noise() -> None:
    out = io.BytesIO()
    with av.open(out, "w", format="matroska") as file:
        stream = file.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for _ in range(10):
            file.mux(stream.encode(av.VideoFrame.from_ndarray(np.zeros((48, 64, 3), np.uint8), format="rgb24")))
        file.mux(stream.encode(None))
    with pytest.raises(UndecodableAudio, match="no audio stream in it, only video"):
        DECODER.decode(out.getvalue())


def test_a_file_of_many_streams_is_bounded() -> None:
    many = muxed(tone(0.1, 8_000), "matroska", "pcm_s16le", audio_streams=100)
    assert DECODER.decode(many).seconds == pytest.approx(0.1, abs=0.05)
    program = bytearray()
    for number in range(3000):  # a QuickTime file of 3000 tracks
        body = struct.pack(">4sI", b"free", number)
        track = struct.pack(">I4s", 8 + len(body), b"trak") + body
        program += track
    moov = struct.pack(">I4s", 8 + len(program), b"moov") + program
    with pytest.raises((UndecodableAudio, TooLarge)):
        DECODER.decode(struct.pack(">I4s4sI", 16, b"ftyp", b"qt  ", 0) + moov)


def test_a_giant_id3_tag_does_not_hide_the_sound() -> None:
    sound = muxed(tone(1.0, 44_100), "mp3", "libmp3lame", options={"id3v2_version": "0"})
    size = 8_000_000
    frame = b"TXXX" + struct.pack(">I", size - 10) + b"\0\0" + bytes([3]) + b"x" * (size - 11)
    tag = b"ID3\x03\0\0" + bytes((size >> shift) & 0x7F for shift in (21, 14, 7, 0)) + frame
    assert DECODER.decode(tag + sound).seconds == pytest.approx(1.0, abs=0.1)


def test_a_compressed_matroska_bomb_ends_within_its_limits() -> None:
    """Nested zlib in a Matroska block would inflate to gigabytes."""
    packed = zlib.compress(bytes(200_000_000), 9)
    file = bytearray(muxed(tone(0.5, 8_000), "matroska", "pcm_s16le"))
    file += b"\xa3" + struct.pack(">Q", len(packed) | 1 << 56) + packed
    assert DECODER.decode(bytes(file)).seconds == pytest.approx(0.5, abs=0.05)


_SEEDS = [
    muxed(tone(0.3, 24_000), "mp3", "libmp3lame"),
    muxed(tone(0.3, 24_000), "flac", "flac"),
    muxed(tone(0.3, 48_000), "ogg", "libopus"),
    muxed(tone(0.3, 44_100), "ogg", "vorbis", layout="stereo"),
    muxed(tone(0.3, 24_000), "mp4", "aac"),
    muxed(tone(0.3, 24_000), "adts", "aac"),
    muxed(tone(0.3, 48_000), "webm", "libopus"),
    muxed(tone(0.3, 22_050), "wav", "adpcm_ima_wav"),
    muxed(tone(0.3, 24_000), "aiff", "pcm_s16be"),
    muxed(tone(0.3, 24_000), "avi", "mp2"),
    wav_file(tone(0.3).samples),
]


@st.composite
def _mutants(draw: st.DrawFn) -> bytes:
    data = bytearray(draw(st.sampled_from(_SEEDS)))
    for _ in range(draw(st.integers(1, 12))):
        if not data:
            break
        at = draw(st.integers(0, min(len(data) - 1, draw(st.sampled_from([64, 512, 1 << 20])))))
        match draw(st.integers(0, 3)):
            case 0:
                data[at] = draw(st.integers(0, 255))
            case 1:
                data[at : at + 4] = draw(st.sampled_from([b"\xff" * 4, b"\0" * 4, b"\x7f\xff\xff\xff", b"\x80\0\0\0"]))
            case 2:
                data[at : at + draw(st.integers(0, 200))] = draw(st.binary(max_size=50))
            case 3:
                del data[max(1, at) :]
    return bytes(data)


def _outcome(data: bytes) -> Clip | EditXError:
    try:
        return Decoder(in_process, AudioLimits(max_seconds=30)).decode(data)
    except EditXError as error:
        return error


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(_mutants())
def test_no_mutant_of_a_good_file_does_more_than_fail(data: bytes) -> None:
    outcome = _outcome(data)
    if isinstance(outcome, EditXError):
        assert isinstance(outcome, UndecodableAudio | TooLarge)
        assert outcome.param == "file"
    else:
        assert len(outcome.samples)
        assert np.isfinite(outcome.samples).all()
        assert np.abs(outcome.samples).max() <= 1.0


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=4000))
def test_no_bytes_do_more_than_fail(data: bytes) -> None:
    assert isinstance(_outcome(data), Clip | UndecodableAudio | TooLarge)


# The process itself. The entries below are functions of this file, run in real children.


def hog(payload: bytes) -> bytes:
    return bytes(8 << 30)


def spin(payload: bytes) -> bytes:
    while True:
        pass


def flood(payload: bytes) -> bytes:
    return bytes(int(payload))


def crash(payload: bytes) -> bytes:
    os.kill(os.getpid(), 11)
    return b""


def confess(payload: bytes) -> bytes:
    import resource

    names = ("RLIMIT_AS", "RLIMIT_CPU", "RLIMIT_CORE", "RLIMIT_FSIZE")
    limits = [resource.getrlimit(getattr(resource, name))[0] for name in names]
    return repr((limits, "EDITX_API_KEY" in os.environ, payload)).encode()


ME = "tests.audio.test_decode_hostile"


@pytest.fixture(autouse=True)
def _importable_by_children(monkeypatch: pytest.MonkeyPatch) -> None:
    root = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")])))


def test_a_child_is_bounded_before_it_sees_the_payload(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDITX_API_KEY", "secret")
    limits = AudioLimits(cpu_seconds=7)
    answer = run_child(f"{ME}:confess", b"hello", limits=limits, timeout=30)
    assert answer.decode() == repr(([limits.address_space_bytes, 7, 0, 65536], False, b"hello"))


def test_a_child_that_wants_too_much_memory_fails_alone() -> None:
    with pytest.raises(ChildFailed, match="MemoryError"):
        run_child(f"{ME}:hog", b"", limits=AudioLimits(), timeout=30)


def test_a_child_that_does_not_end_is_killed() -> None:
    started = time.monotonic()
    with pytest.raises(ChildTimedOut, match=r"after 1\.5 s"):
        run_child(f"{ME}:spin", b"", limits=AudioLimits(), timeout=1.5)
    with pytest.raises(ChildFailed, match="signal") as caught:
        run_child(f"{ME}:spin", b"", limits=AudioLimits(cpu_seconds=1), timeout=30)
    assert caught.value.signal is not None
    assert time.monotonic() - started < 20


def test_a_child_that_answers_without_end_is_cut_off() -> None:
    limits = AudioLimits(max_samples=1000)
    assert len(run_child(f"{ME}:flood", b"1000", limits=limits, timeout=30)) == 1000
    with pytest.raises(ChildFailed, match="more than"):
        run_child(f"{ME}:flood", b"50000000", limits=limits, timeout=30)


def test_a_crash_of_the_decoder_blames_the_file_and_a_missing_decoder_does_not() -> None:
    def crashing(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
        return run_child(f"{ME}:crash", payload, limits=limits, timeout=timeout)

    def missing(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
        return run_child("editx.audio.no_such:decode", payload, limits=limits, timeout=timeout)

    def spinning(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
        return run_child(f"{ME}:spin", payload, limits=limits, timeout=1)

    with pytest.raises(UndecodableAudio, match="signal 11"):
        Decoder(crashing).decode(b"x", param="f")
    with pytest.raises(EngineFault, match="no_such"):
        Decoder(missing).decode(b"x")
    with pytest.raises(UndecodableAudio, match="longer than"):
        Decoder(spinning).decode(b"x")


def test_a_disk_without_room_for_the_childs_input_is_no_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    with pytest.raises(EngineFault, match=r"cannot be started: .*No such file"):
        DECODER.decode(wav_file(tone(0.1).samples))


def test_no_process_or_descriptor_stays() -> None:
    import psutil

    me = psutil.Process()
    DECODER.decode(wav_file(tone(0.1).samples))
    files, children = me.num_fds(), me.children()
    threads = [threading.Thread(target=lambda: DECODER.decode(wav_file(tone(0.1).samples))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with pytest.raises(ChildFailed):
        run_child(f"{ME}:crash", b"", limits=AudioLimits(), timeout=30)
    assert me.num_fds() == files
    assert me.children() == children


def test_the_command_of_the_child_reads_stdin_and_writes_stdout() -> None:
    out = subprocess.run(
        [sys.executable, "-m", "editx.audio.decode_child"],
        input=b'{"max_seconds": 1, "max_samples": 9, "max_channels": 1, "min_rate": 1, "max_rate": 9}\nno audio',
        capture_output=True,
        check=True,
    )
    assert out.stdout.startswith(b'{"error": "undecodable"')
    assert child.run_child is run_child


@pytest.mark.parametrize(
    "reply",
    [b"", b"\n", b"{}", b"[]\n1234", b'{"rate": 24000}\n', b'{"rate": 24000}\n123', b'{"rate": 0}\n1234',
     b'{"rate": "x"}\n1234', b'{"rate": 1e9}\n1234', b"\xff\xfe\n1234", b"null", b'"error"', b'{"rate": true}\n1234'],
)  # fmt: skip
def test_a_child_that_was_taken_over_is_not_believed(reply: bytes) -> None:
    def lying(entry: str, payload: bytes, *, limits: AudioLimits, timeout: float) -> bytes:
        return reply

    with pytest.raises(EngineFault, match="no usable answer"):
        Decoder(lying).decode(b"x")
