"""One request to the language model, as the one who asked sees it and as the scheduler does."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from typing import Literal

from editx.cancellation import Cancellation
from editx.engines.step.lm.sampling import SamplingOptions
from editx.errors import Cancelled, EditXError

FinishReason = Literal["stop", "length"]


class Generation:
    """Iterate it once to receive ids in blocks as they are drawn; the id that ends the sequence is left out. A block
    without ids says that the prompt is being filled in.

    Raises `Cancelled` soon after its cancellation is set, and whatever went wrong in the scheduler. Leaving the loop
    early frees the slot; `close` does so too, and may be called at any time.
    """

    def __init__(
        self,
        prompt: tuple[int, ...],
        constant: int,
        options: SamplingOptions,
        seed: int,
        limit: int,
        cancellation: Cancellation,
        wake: Callable[[], None],
    ) -> None:
        self.prompt = prompt
        self.constant = constant
        self.options = options
        self.seed = seed
        self.limit = limit
        """The most ids it may give."""
        self.finish_reason: FinishReason | None = None
        """Why it ended: the model's end, or the limit. None while under way, or when it did not end by itself."""
        self.reused_tokens = 0
        """Tokens of the prompt whose keys and values were kept from an earlier request."""
        self._inbox: queue.SimpleQueue[list[int] | FinishReason | EditXError] = queue.SimpleQueue()
        self._abandoned = False
        self._wake = wake
        self._cancellation = cancellation
        self._forget = cancellation.on_cancel(self._cancelled)

    def __iter__(self) -> Iterator[list[int]]:
        try:
            while True:
                item = self._inbox.get()
                if isinstance(item, EditXError):
                    raise item
                if isinstance(item, str):
                    self.finish_reason = item
                    return
                yield item
        finally:
            self.close()

    def close(self) -> None:
        """Give the slot back. Whoever waits for ids in another thread is told it was cancelled."""
        self._forget()
        if not self._abandoned:
            self._abandoned = True
            self._inbox.put(Cancelled("the generation was closed"))
            self._wake()

    @property
    def abandoned(self) -> bool:
        """Whether nobody wants more of it. Read by the scheduler between steps."""
        return self._abandoned

    def deliver(self, item: list[int] | FinishReason | EditXError) -> None:
        """Hand over ids, the end, or an error. Called by the scheduler."""
        self._inbox.put(item)

    def _cancelled(self) -> None:
        try:
            self._cancellation.raise_if_cancelled()
        except Cancelled as error:
            self._abandoned = True
            self._inbox.put(error)
            self._wake()
