"""HTTP that tries again: what fails on the way is asked for anew, with pauses that grow."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from editx.cancellation import Cancellation
from editx.errors import ModelUnavailable, NotFound

ATTEMPTS = 6
LIST_ATTEMPTS = 4
"""Somebody may be waiting to hear that there is no network."""
_LONGEST_PAUSE_S = 30.0
_LONGEST_LIST = 64 * 2**20
_TIMEOUT = httpx.Timeout(15.0, connect=10.0, pool=None)
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class Unreachable(ModelUnavailable):
    """The hub did not answer, or broke off, as often as it was asked."""


class Refused(ModelUnavailable):
    """The hub wants a login, or does not let this one in."""


class Retry(Exception):
    """This attempt failed and another makes sense. `after_s`: what the server asked for."""

    def __init__(self, reason: str, after_s: float = 0.0) -> None:
        super().__init__(reason)
        self.after_s = after_s


class Http:
    """A client for one pull; used by several threads. `pause_s` is the first pause before trying again."""

    def __init__(self, cancellation: Cancellation, *, pause_s: float = 0.5, timeout: httpx.Timeout = _TIMEOUT) -> None:
        self.cancellation = cancellation
        self._pause_s = pause_s
        self._cancelled = threading.Event()
        self._forget = cancellation.on_cancel(self._cancelled.set)
        self._client = httpx.Client(
            follow_redirects=True, timeout=timeout, headers={"User-Agent": "editx", "Accept-Encoding": "identity"}
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget()
        self._client.close()

    def json(self, url: str) -> tuple[Any, str | None]:
        """A JSON document and the URL of the page after it. Raises NotFound, Refused, Unreachable, ModelUnavailable."""
        for attempt in range(LIST_ATTEMPTS):
            try:
                with self.get(url) as response:
                    body = bytearray()
                    for part in response.iter_bytes():
                        body += part
                        if len(body) > _LONGEST_LIST:
                            raise ModelUnavailable(f"{url} answers with more than {_LONGEST_LIST} bytes")
                    following = response.links.get("next", {}).get("url")
                document = httpx.Response(200, content=bytes(body)).json()
                return document, str(httpx.URL(url).join(following)) if following else None
            except ValueError as error:
                raise ModelUnavailable(f"{url} does not answer with JSON; check --endpoint") from error
            except Retry as failure:
                self.pause(attempt, failure, url, LIST_ATTEMPTS)
        raise AssertionError("the last attempt raises")

    @contextmanager
    def get(self, url: str, headers: dict[str, str] | None = None) -> Iterator[httpx.Response]:
        """A response whose body is yet to be read. Raises Retry for what may pass, an EditXError for what will not."""
        self.cancellation.raise_if_cancelled()
        try:
            with self._client.stream("GET", url, headers=headers) as response:
                _check(response, url)
                yield response
        except httpx.InvalidURL as error:
            raise ModelUnavailable(f"{url} is no URL: {error}; check --endpoint") from error
        except (httpx.UnsupportedProtocol, httpx.TooManyRedirects) as error:
            raise ModelUnavailable(f"{url} cannot be fetched: {error}; check --endpoint") from error
        except httpx.TransportError as error:
            raise Retry(str(error) or type(error).__name__) from error

    def pause(self, attempt: int, failure: Retry, url: str, attempts: int = ATTEMPTS) -> None:
        """Wait before the next attempt. Raises Unreachable after the last one, Cancelled as soon as cancelled."""
        if attempt + 1 >= attempts:
            raise Unreachable(f"{url} cannot be fetched: {failure} ({attempts} attempts)")
        wanted = max(self._pause_s * 2**attempt, failure.after_s)
        self._cancelled.wait(min(wanted, _LONGEST_PAUSE_S))
        self.cancellation.raise_if_cancelled()


def _check(response: httpx.Response, url: str) -> None:
    code = response.status_code
    if code in _RETRIED:
        after = response.headers.get("Retry-After", "")
        raise Retry(f"the server answers {code}", float(after) if after.isdecimal() else 0.0)
    if code == 404:
        raise NotFound(f"{url} does not exist; check --source and --endpoint")
    if code in (401, 403):
        raise Refused(f"{url} may not be read ({code}): the hub asks for a login; try the other --source")
    if code not in (200, 206, 416):
        raise ModelUnavailable(f"{url} answers {code}")
