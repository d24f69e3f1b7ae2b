"""Every error EditX raises on purpose.

    EditXError
    ├── InvalidRequest          what was asked cannot be done; names the parameter
    │   ├── UndecodableAudio    these bytes are not audio we can read
    │   └── MissingTranscript   the step needs the words spoken in its source
    ├── NotFound                no such variant, voice or model
    ├── Conflict                the name is taken, or the thing may not be changed
    ├── TooLarge                over a limit on bytes, seconds, channels or characters
    ├── StorageFailed           the disk took no more, or did not let us write
    ├── QueueFull               too many requests are waiting already
    ├── Cancelled               whoever asked has gone, or said stop
    ├── ModelUnavailable        the model cannot serve this request now
    │   ├── LoadFailed          the factory raised, or its process exited
    │   │   └── OutOfMemory     the load or the work did not fit
    │   ├── ModelUnloaded       the lease was revoked by an unload
    │   ├── ModelCrashed        the worker process died; asking again is reasonable
    │   ├── BackingOff          it crashed repeatedly; retry_after_s says when it is tried again
    │   └── ShuttingDown        the manager, pool or server is closing
    ├── Stalled                 no sign of life within the stall timeout; the worker was killed
    └── EngineFault             the engine raised something unexpected

`server/errors.py` maps this tree to HTTP and `cli.py` to exit codes; nothing else does.
"""

from __future__ import annotations

import copy
import errno
from collections.abc import Iterator, Mapping
from contextlib import contextmanager


class EditXError(Exception):
    """Base of all errors raised on purpose.

    `param` names the offending parameter where there is one, `retry_after_s` the seconds after which
    asking again makes sense, and `code` is a stable machine-readable name of the kind of error.
    """

    code = "editx_error"

    def __init__(self, message: str, *, param: str | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.param = param
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message


class InvalidRequest(EditXError):
    code = "invalid_request"


class UndecodableAudio(InvalidRequest):
    code = "undecodable_audio"


class MissingTranscript(InvalidRequest):
    code = "missing_transcript"


class NotFound(EditXError):
    code = "not_found"


class Conflict(EditXError):
    code = "conflict"


class TooLarge(EditXError):
    code = "too_large"


class StorageFailed(EditXError):
    code = "storage_failed"


class QueueFull(EditXError):
    code = "queue_full"


class Cancelled(EditXError):
    code = "cancelled"


class ModelUnavailable(EditXError):
    code = "model_unavailable"


class LoadFailed(ModelUnavailable):
    code = "load_failed"


class OutOfMemory(LoadFailed):
    code = "out_of_memory"


class ModelUnloaded(ModelUnavailable):
    code = "model_unloaded"


class ModelCrashed(ModelUnavailable):
    code = "model_crashed"


class BackingOff(ModelUnavailable):
    code = "backing_off"


class ShuttingDown(ModelUnavailable):
    code = "shutting_down"


class Stalled(EditXError):
    code = "stalled"


class EngineFault(EditXError):
    code = "engine_fault"


def _tree(kind: type[EditXError]) -> list[type[EditXError]]:
    return [kind, *(leaf for child in kind.__subclasses__() for leaf in _tree(child))]


NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)
"""What a system says when it is the disk that does not let us write."""


def unwritable(what: str, error: OSError, *, param: str | None = None) -> EditXError:
    """The error for a file that could not be written: StorageFailed where the disk is the reason, InvalidRequest where
    it is the place that was named."""
    kind = StorageFailed if error.errno in NO_ROOM else InvalidRequest
    return kind(f"{what}: {error.strerror}", param=param)


BY_CODE: dict[str, type[EditXError]] = {kind.code: kind for kind in _tree(EditXError)}
"""Every kind of error by its `code`, for errors that crossed a process boundary as text."""


@contextmanager
def named(fields: Mapping[str, str]) -> Iterator[None]:
    """Errors from below name the parameter as whoever asked wrote it: `fields` says how."""
    try:
        yield
    except EditXError as error:
        name = (error.param or "").partition("[")[0]
        if name not in fields:
            raise
        told = copy.copy(error)  # others may have been told of the same failure
        told.param = fields[name]
        raise told from error
