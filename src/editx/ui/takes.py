"""A take: one job of the page, from the button to the sound, as the values its player shows meanwhile."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict, dataclass, field
from typing import Any, TypeVar

from editx.backends.base import Queued, Waking
from editx.cancellation import Cancellation
from editx.engines.base import Progress
from editx.errors import Cancelled, EditXError
from editx.studio import Audio, Event, Job, Result, Started, Working
from editx.ui.parts import Parts
from editx.ui.sounds import Live, Sound
from editx.ui.words import Words

log = logging.getLogger("editx.page")

T = TypeVar("T")

SHOWN_EVERY_S = 0.15
"""Progress within one stage is shown this often, so that a page far away is not flooded."""

OVERLAP_S = 0.5
"""Sound is decoded while more of it is generated; decoding counts as a stage once nothing was generated for so long."""


@dataclass(frozen=True, slots=True)
class Take:
    """What the player shows now; `result` and `sound` are there when it is done.

    `value` holds `state` (queued, waking, working, done, cancelled, failed) and what belongs to it.
    """

    value: dict[str, Any]
    result: Result | None = None
    sound: Sound | None = None


@dataclass(slots=True)
class _Shown:
    """The state of the player while the job runs."""

    value: dict[str, Any] = field(default_factory=dict)
    generated: float = float("-inf")

    def hear(self, event: Event, now: float) -> None:
        """Take in what happened at `now`, in seconds of any clock."""
        if isinstance(event, Queued):
            self.value = {"state": "queued", "position": event.position}
        elif isinstance(event, Waking):
            self.value = {"state": "waking", "variant": event.variant, "fraction": event.progress.fraction}
        elif isinstance(event, Started):
            self.value = {**self.value, "state": "working", "stage": "preprocessing", "variant": event.variant}
        elif isinstance(event, Working):
            self._working(event.step, event.steps, event.kind, event.progress, now)

    def _working(self, step: int, steps: int, kind: str, progress: Progress, now: float) -> None:
        stage = progress.stage
        if stage == "generation":
            self.generated = now
        elif stage == "decoding" and now < self.generated + OVERLAP_S:
            stage = "generation"
        self.value = {
            **self.value, "state": "working", "stage": stage, "fraction": progress.fraction,
            "step": step, "steps": steps, "kind": kind, "made": round(progress.seconds, 1),
        }  # fmt: skip


async def perform(parts: Parts, words: Words, tab: str, job: Job, place: str = "") -> AsyncIterator[Take]:
    """Run `job` for a browser tab and yield what its player shows, to the end; ends the job when nobody listens on.

    `place`: where on the page it was started, so that it can be cancelled alone. What goes wrong is the last value, as
    words a person can act on; nothing is raised.
    """
    shown = _Shown()
    live: Live | None = None
    loop = asyncio.get_running_loop()
    told, at = None, 0.0
    try:
        parts.studio.backend.admit()
        async with parts.runner.run(job) as run:
            with parts.running.entered(tab, place, run):
                yield Take({"state": "queued", "position": 0})
                async for event in run.events():
                    if isinstance(event, Audio):
                        if live is None:
                            live = parts.sounds.grow(event.clip.rate)
                            shown.value["live"] = live.url
                        live.write(event.clip)
                        shown.value["seconds"] = round(shown.value.get("seconds", 0.0) + event.clip.seconds, 3)
                    else:
                        shown.hear(event, loop.time())
                    now = (shown.value.get("state"), shown.value.get("stage"), shown.value.get("step"), live)
                    if now != told or loop.time() >= at + SHOWN_EVERY_S:
                        told, at = now, loop.time()
                        yield Take(dict(shown.value))
                result = await run.result()
                sound = await parts.runner.chore(lambda: parts.sounds.keep(result.clip))
        yield Take(_done(result, sound, live), result, sound)
    except EditXError as error:
        yield Take(failed(words, error))
    except Exception:  # a defect; the visitor gets a sentence, the log gets the rest
        log.exception("a job of the page failed")
        yield Take({"state": "failed", "message": words("error.internal")})
    finally:
        if live is not None:
            live.finish()


async def read(parts: Parts, tab: str, function: Callable[[Cancellation], T], place: str = "") -> T:
    """What `function` makes of a recording for a browser tab; it can be cancelled as a job can. Raises EditXError."""
    cancellation = Cancellation()
    with parts.running.entered(tab, place, cancellation):
        return await parts.runner.read(function, cancellation)


def failed(words: Words, error: EditXError) -> dict[str, Any]:
    """The player's value for a job that could not be done, or was given up."""
    if isinstance(error, Cancelled):
        return {"state": "cancelled"}
    return {"state": "failed", "message": words.error(error), "code": error.code}


def _done(result: Result, sound: Sound, live: Live | None) -> dict[str, Any]:
    value: dict[str, Any] = {
        "state": "done", "sound": sound.url, "seconds": round(sound.seconds, 3), "variant": result.variant,
        "seed": str(result.seed), "transcript": result.transcript,
        "timings": {name: round(seconds, 3) for name, seconds in asdict(result.timings).items()},
    }  # fmt: skip
    if live is not None:
        value["live"] = live.url
    return value
