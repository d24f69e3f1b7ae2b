"""The buffers between a file and a parameter that cannot be read into directly."""

from __future__ import annotations

import torch

_BUFFERS = 2


class Staging:
    """A ring of reused buffers of one reading thread; pinned, with a stream of its own, where the target is a CUDA GPU.

    `take`, fill, `copy`, repeat, `finish`. Used by one thread.
    """

    def __init__(self) -> None:
        self._device = torch.device("cpu")
        self._buffers: list[torch.Tensor | None] = [None] * _BUFFERS
        self._busy: list[torch.cuda.Event | None] = [None] * _BUFFERS
        self._stream: torch.cuda.Stream | None = None
        self._at = -1

    def take(self, size: int, device: torch.device) -> torch.Tensor:
        """The next buffer, (size,) uint8, for data that goes to `device`; its former content has been copied."""
        if device != self._device:
            self._switch(device)
        self._at = (self._at + 1) % _BUFFERS
        event = self._busy[self._at]
        if event is not None:
            event.synchronize()
        buffer = self._buffers[self._at]
        if buffer is None or len(buffer) < size:
            buffer = torch.empty(size, dtype=torch.uint8, pin_memory=device.type == "cuda")
            self._buffers[self._at] = buffer
        return buffer[:size]

    def copy(self, target: torch.Tensor, source: torch.Tensor) -> None:
        """Copy what the taken buffer holds, cast where the data types differ; on CUDA without waiting for it."""
        if self._stream is None:
            target.copy_(source)
            return
        with torch.cuda.stream(self._stream):
            if target.dtype == source.dtype and target.is_contiguous():
                target.copy_(source, non_blocking=True)
            else:  # moved as it is stored, then cast by the GPU: the host has less bandwidth to spare
                target.copy_(source.to(target.device, non_blocking=True))
            event = torch.cuda.Event()
            event.record(self._stream)
        self._busy[self._at] = event

    def finish(self) -> None:
        """Wait until everything is where it belongs."""
        if self._stream is not None:
            self._stream.synchronize()

    def _switch(self, device: torch.device) -> None:
        self.finish()
        self._device, self._stream = device, None
        self._buffers, self._busy = [None] * _BUFFERS, [None] * _BUFFERS
        if device.type == "cuda":
            self._stream = torch.cuda.Stream(device)
            self._stream.wait_stream(torch.cuda.default_stream(device))
