"""The sounds the page plays: finished ones in files, and those still being made."""

from __future__ import annotations

import asyncio
import secrets
import tempfile
import threading
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from editx.audio.clip import Clip
from editx.audio.codec import StreamEncoder, encode
from editx.errors import NotFound

LIVE_FORMAT = "mp3"
"""What a browser plays while more of it arrives."""

KEPT_LIVE = 32
"""Growing sounds that can still be asked for, the finished ones among them: a page may be slow to ask."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A finished sound in a file of its own. `seconds`: how long it is; `bytes`: of the file."""

    id: str
    path: Path
    seconds: float
    bytes: int

    @property
    def url(self) -> str:
        """Where the page finds it, relative to the page."""
        return f"page/sounds/{self.id}.wav"


class Live:
    """A sound that grows. Written and read on one event loop; any number of readers, each from the beginning."""

    def __init__(self, id: str, rate: int) -> None:
        self.id = id
        self._encoder = StreamEncoder(LIVE_FORMAT, rate)
        self._pieces: list[bytes] = []
        self._grown = asyncio.Event()
        self._complete = False

    @property
    def url(self) -> str:
        return f"page/live/{self.id}.{LIVE_FORMAT}"

    def write(self, clip: Clip) -> None:
        self._add(self._encoder.write(clip))

    def finish(self) -> None:
        """No more will come."""
        if not self._complete:
            self._add(self._encoder.finish())
            self._encoder.close()
            self._complete = True
            self._grown.set()

    async def read(self) -> AsyncIterator[bytes]:
        """All of it, as it comes."""
        at = 0
        while True:
            while at < len(self._pieces):
                at += 1
                yield self._pieces[at - 1]
            if self._complete:
                return
            await self._grown.wait()

    def _add(self, piece: bytes) -> None:
        if piece:
            self._pieces.append(piece)
            grown, self._grown = self._grown, asyncio.Event()
            grown.set()


class Sounds:
    """Keeps what was made in a directory that ends with the server; the oldest go when there are more than `max_bytes`,
    those not counted that somebody holds.

    `keep`, `get`, `hold` and `release` may be called from any thread.
    """

    def __init__(self, *, max_bytes: int = 500_000_000) -> None:
        self._max_bytes = max_bytes
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._kept: OrderedDict[str, Sound] = OrderedDict()
        self._held: Counter[str] = Counter()
        self._live: OrderedDict[str, Live] = OrderedDict()
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        self._directory = tempfile.TemporaryDirectory(prefix="editx-page-")
        return self

    def __exit__(self, *_: object) -> None:
        if self._directory is not None:
            self._directory.cleanup()

    @property
    def directory(self) -> Path:
        """Where the page's files are, uploads included; there while the context is open."""
        assert self._directory is not None, "the page keeps files while its context is open"
        return Path(self._directory.name)

    def keep(self, clip: Clip) -> Sound:
        """Write `clip` to a file and return where it is. Blocks while it writes."""
        data = encode(clip, "wav")
        id = secrets.token_urlsafe(16)
        path = self.directory / f"{id}.wav"
        path.write_bytes(data)
        sound = Sound(id, path, clip.seconds, len(data))
        with self._lock:
            self._kept[id] = sound
            self._tidy()
        return sound

    def get(self, id: str) -> Sound:
        """The sound kept as `id`. Raises NotFound."""
        with self._lock:
            return self._get(id)

    def hold(self, id: str) -> Sound:
        """Keep the sound, whatever else comes, until it was released as often. Raises NotFound."""
        with self._lock:
            sound = self._get(id)
            self._held[id] += 1
            return sound

    def release(self, id: str) -> None:
        """One holder less; without any the sound goes when its turn comes."""
        with self._lock:
            self._held[id] -= 1
            self._held = +self._held
            self._tidy()

    def _get(self, id: str) -> Sound:
        if id not in self._kept:
            raise NotFound("this sound is no longer there; the server keeps the latest ones only", param="id")
        self._kept.move_to_end(id)
        return self._kept[id]

    def _tidy(self) -> None:
        """Delete the oldest of the sounds nobody holds while there are too many; the latest stays."""
        free = [sound for sound in self._kept.values() if sound.id not in self._held]
        total = sum(sound.bytes for sound in free)
        for oldest in free[:-1]:
            if total <= self._max_bytes:
                break
            total -= oldest.bytes
            self._kept.pop(oldest.id).path.unlink()

    def grow(self, rate: int) -> Live:
        """A new sound that grows; `finish` it in the end."""
        live = Live(secrets.token_urlsafe(16), rate)
        self._live[live.id] = live
        while len(self._live) > KEPT_LIVE:
            self._live.popitem(last=False)
        return live

    def live(self, id: str) -> Live:
        """The growing sound `id`. Raises NotFound."""
        if id not in self._live:
            raise NotFound("this sound is complete or was given up", param="id")
        return self._live[id]
