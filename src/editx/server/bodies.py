"""JSON bodies, read and checked so that nobody else has to wait for it.

Recordings come as base64 and may be long; everything else in a request is short. So what is long besides base64 is
refused while it arrives, and what came is parsed on another thread.
"""

from __future__ import annotations

import string
from collections.abc import Awaitable, Callable
from email.message import Message
from typing import Any, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ValidationError

from editx.errors import InvalidRequest, TooLarge
from editx.server.service import The

MAX_PLAIN_BYTES = 1_000_000
"""Of one JSON body, what is not base64: texts in most scripts, and everything that makes the parser work."""
MAX_ESCAPES = 2_000_000
"""Of one JSON body: line ends in 100 MB of base64, or its slashes, as PHP writes them. Each costs the parser as much as
a hundred other bytes, and while it parses nothing else runs."""

_BASE64 = (string.ascii_letters + string.digits + "+/=-_ \\\r\n\t").encode()
"""And white space, and the backslashes of line ends in it."""

B = TypeVar("B", bound=BaseModel)


class PlainBytes:
    """Counts, over the pieces of a JSON body, the bytes that are not base64, and the escapes."""

    def __init__(self) -> None:
        self._count = 0
        self._escapes = 0

    def add(self, piece: bytes) -> None:
        """Raises TooLarge once they are too many."""
        self._count += len(piece.translate(None, _BASE64))
        self._escapes += piece.count(b"\\")
        if self._count > MAX_PLAIN_BYTES or self._escapes > MAX_ESCAPES:
            raise TooLarge(
                f"a JSON body has at most {MAX_PLAIN_BYTES} bytes besides the base64 of recordings, and at most "
                f"{MAX_ESCAPES} escapes",
                param="body",
            )


def is_json(content_type: str) -> bool:
    """Whether a Content-Type says JSON."""
    message = Message()
    message["content-type"] = content_type
    kind = message.get_content_subtype()
    return message.get_content_maintype() == "application" and (kind == "json" or kind.endswith("+json"))


def json_body(model: type[B]) -> Callable[[Request, The], Awaitable[B]]:
    """A dependency: the request's body as `model`. Pair it with `documented`."""

    async def body(request: Request, service: The) -> B:
        if not is_json(given := request.headers.get("content-type", "")):
            said = f"Content-Type: {given[:100]}" if given else "no Content-Type"
            raise InvalidRequest(f"send Content-Type: application/json with a JSON body; this request has {said}")
        data = await request.body()
        try:
            return await service.runner.chore(lambda: model.model_validate_json(data))
        except ValidationError as error:
            raise RequestValidationError(error.errors(include_url=False)) from None

    return body


def documented(model: type[BaseModel]) -> dict[str, Any]:
    """For a route's `openapi_extra`: that its body is `model`, which `schemas_of` has to describe."""
    schema = {"$ref": _REFERENCE.format(model=model.__name__)}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


def schemas_of(*models: type[BaseModel]) -> dict[str, Any]:
    """The components that `documented` refers to."""
    found: dict[str, Any] = {}
    for model in models:
        schema = model.model_json_schema(ref_template=_REFERENCE)
        found |= schema.pop("$defs", {})
        found[model.__name__] = schema
    return found


_REFERENCE = "#/components/schemas/{model}"
