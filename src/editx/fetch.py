"""Fetches a file from the public internet for somebody who is not trusted, without becoming their way into ours.

A host is resolved once, every address it has must be public, and the connection goes to an address that was checked, so
a name that changes its mind between check and connection gains nothing. Redirects are followed by hand and checked
alike. Proxies and other settings of the environment play no part.
"""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from urllib.parse import quote, urljoin, urlsplit

from editx.cancellation import Cancellation
from editx.errors import EditXError, InvalidRequest, TooLarge

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
IsPublic = Callable[[Address], bool]
Resolve = Callable[[str], Sequence[Address]]

MAX_REDIRECTS = 5
_CHUNK_BYTES = 64 * 1024
_REDIRECTS = (301, 302, 303, 307, 308)
_PORTS = {"http": 80, "https": 443}

# IANA's registries of special-purpose addresses, and multicast.
_NOT_PUBLIC_4 = [
    ipaddress.IPv4Network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24",
        "192.0.2.0/24", "192.31.196.0/24", "192.52.193.0/24", "192.88.99.0/24", "192.168.0.0/16", "192.175.48.0/24",
        "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4",
    )
]  # fmt: skip
_PUBLIC_6 = ipaddress.IPv6Network("2000::/3")
_NOT_PUBLIC_6 = [
    ipaddress.IPv6Network(network) for network in ("2001::/23", "2001:db8::/32", "2620:4f:8000::/48", "3fff::/20")
]
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_6TO4 = ipaddress.IPv6Network("2002::/16")


def is_public_address(address: Address) -> bool:
    """Whether `address` is one of the public internet; an IPv6 address with an IPv4 one in it is what that one is."""
    if isinstance(address, ipaddress.IPv4Address):
        return not any(address in network for network in _NOT_PUBLIC_4)
    if address.ipv4_mapped is not None:
        return is_public_address(address.ipv4_mapped)
    if address in _NAT64:
        return is_public_address(ipaddress.IPv4Address(int(address) & 0xFFFFFFFF))
    if address in _6TO4:
        return is_public_address(ipaddress.IPv4Address(int(address) >> 80 & 0xFFFFFFFF))
    return address in _PUBLIC_6 and not any(address in network for network in _NOT_PUBLIC_6)


def resolve_host(host: str) -> list[Address]:
    """All addresses of `host`, a name or an address. Raises OSError when it has none."""
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(ipaddress.ip_address(entry[4][0]) for entry in found))


def fetch_audio(
    url: str,
    *,
    max_bytes: int,
    timeout: float = 20.0,
    param: str = "ref_audio",
    is_public: IsPublic = is_public_address,
    resolve: Resolve = resolve_host,
    tls: ssl.SSLContext | None = None,
    cancellation: Cancellation | None = None,
) -> bytes:
    """The bytes at `url` (http or https), at most `max_bytes`, within `timeout` seconds altogether.

    Whether fetching is allowed at all is the caller's to decide. `is_public` and `resolve` are the policy and the
    resolver, `tls` who is trusted (the system's authorities by default). Raises InvalidRequest, saying why, when the
    address is refused or does not answer with the file; TooLarge when it is longer; Cancelled as soon as `cancellation`
    says so.
    """
    fetch = _Fetch(max_bytes, timeout, param, is_public, resolve, tls, cancellation or Cancellation())
    for _ in range(MAX_REDIRECTS + 1):
        answer = fetch.get(url)
        if isinstance(answer, bytes):
            return answer
        url = urljoin(url, answer.location)
    raise InvalidRequest(f"the URL was redirected more than {MAX_REDIRECTS} times", param=param)


@dataclass(frozen=True, slots=True)
class _Redirect:
    location: str


class _Fetch:
    """One fetch with its limits, over all redirects."""

    def __init__(
        self,
        max_bytes: int,
        timeout: float,
        param: str,
        is_public: IsPublic,
        resolve: Resolve,
        tls: ssl.SSLContext | None,
        cancellation: Cancellation,
    ) -> None:
        self._max_bytes = max_bytes
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._param = param
        self._is_public = is_public
        self._resolve = resolve
        self._tls = tls
        self._cancellation = cancellation

    def get(self, url: str) -> bytes | _Redirect:
        """What `url` itself answers."""
        scheme, host, port, target = self._parts(url)
        connection = self._connect(self._addresses(host), host, port)
        late = threading.Event()
        # Closing the twin's connection wakes whatever waits on it, which no timeout of a single read could promise.
        with connection, connection.dup() as twin:

            def expire() -> None:
                late.set()
                _shut(twin)

            timer = threading.Timer(self._left(), expire)
            timer.start()
            forget = self._cancellation.on_cancel(lambda: _shut(twin))
            try:
                answer = self._exchange(connection, scheme, host, port, target)
            except (OSError, http.client.HTTPException) as error:
                self._cancellation.raise_if_cancelled()
                if late.is_set():
                    raise self._too_slow() from None
                raise self._refusal(f"{host} did not answer as it should: {error or type(error).__name__}") from None
            finally:
                forget()
                timer.cancel()
                timer.join()
        self._cancellation.raise_if_cancelled()
        if late.is_set():
            raise self._too_slow()
        return answer

    def _parts(self, url: str) -> tuple[str, str, int, str]:
        try:
            parts = urlsplit(url)
            scheme, host, port = parts.scheme.lower(), parts.hostname, parts.port
        except ValueError as error:
            raise self._refusal(f"it is no valid URL: {error}") from None
        if scheme not in _PORTS:
            raise self._refusal(f"only http and https URLs are fetched, not {scheme or 'a URL without a scheme'}")
        if parts.username is not None or parts.password is not None:
            raise self._refusal("a URL with a user name or password in it is not fetched")
        if not host:
            raise self._refusal("it names no host")
        try:
            host = host if ":" in host else host.encode("idna").decode("ascii")
        except UnicodeError:
            raise self._refusal("its host is no valid name") from None
        target = quote(parts.path or "/", safe="/%:@!$&'()*+,;=~-._")
        if parts.query:
            target += "?" + quote(parts.query, safe="/?%:@!$&'()*+,;=~-._[]")
        return scheme, host, port or _PORTS[scheme], target

    def _addresses(self, host: str) -> Sequence[Address]:
        """The checked addresses of `host`. The system's resolver knows no timeout, so it works in a thread."""
        outcome: list[Sequence[Address] | Exception] = []
        over = threading.Event()

        def work() -> None:
            try:
                outcome.append(self._resolve(host))
            except (OSError, UnicodeError, ValueError) as error:
                outcome.append(error)
            over.set()

        forget = self._cancellation.on_cancel(over.set)
        threading.Thread(target=work, name="resolve-host", daemon=True).start()
        over.wait(self._left())
        forget()
        self._cancellation.raise_if_cancelled()
        if not outcome:
            raise self._too_slow()
        found = outcome[0]
        if isinstance(found, Exception) or not found:
            raise self._refusal(f"the host {host} was not found")
        if not all(self._is_public(address) for address in found):
            raise self._refusal(f"the host {host} has an address that is not public, and only public ones are fetched")
        return found

    def _connect(self, addresses: Sequence[Address], host: str, port: int) -> socket.socket:
        for address in addresses:
            self._cancellation.raise_if_cancelled()
            try:
                connection = socket.socket(socket.AF_INET if address.version == 4 else socket.AF_INET6)
            except OSError:  # a system without this version, or without a descriptor left
                continue
            forget = self._cancellation.on_cancel(partial(_shut, connection))
            try:
                connection.settimeout(self._left())
                connection.connect((str(address), port))
                return connection
            except OSError:
                connection.close()
            finally:
                forget()
        self._cancellation.raise_if_cancelled()
        if time.monotonic() >= self._deadline:
            raise self._too_slow()
        raise self._refusal(f"no connection to {host} on port {port}")

    def _exchange(self, raw: socket.socket, scheme: str, host: str, port: int, target: str) -> bytes | _Redirect:
        stream = raw
        if scheme == "https":
            stream = (self._tls or ssl.create_default_context()).wrap_socket(raw, server_hostname=host)
        with stream:
            connection = http.client.HTTPConnection(host, port)
            connection.sock = stream
            connection.putrequest("GET", target, skip_host=True, skip_accept_encoding=True)
            name = f"[{host}]" if ":" in host else host
            connection.putheader("Host", name if port == _PORTS[scheme] else f"{name}:{port}")
            for header, value in (("User-Agent", "editx"), ("Accept", "audio/*, */*"), ("Connection", "close")):
                connection.putheader(header, value)
            connection.putheader("Accept-Encoding", "identity")
            connection.endheaders()
            with connection.getresponse() as response:
                return self._body(response, host)

    def _body(self, response: http.client.HTTPResponse, host: str) -> bytes | _Redirect:
        if response.status in _REDIRECTS:
            location = response.getheader("Location")
            if not location:
                raise self._refusal(f"{host} redirected without saying where to")
            return _Redirect(location)
        if response.status != 200:
            raise self._refusal(f"{host} answered with status {response.status}")
        if response.getheader("Content-Encoding", "identity").lower() != "identity":
            raise self._refusal(f"{host} sent the file compressed, which was not asked for")
        declared = response.length
        if declared is not None and declared > self._max_bytes:
            raise self._too_long(f"{declared} bytes")
        data = bytearray()
        while chunk := response.read1(_CHUNK_BYTES):
            data += chunk
            if len(data) > self._max_bytes:
                raise self._too_long("more")
        if declared is not None and len(data) < declared:
            raise self._refusal(f"{host} sent {len(data)} of {declared} bytes and broke off")
        return bytes(data)

    def _left(self) -> float:
        """Seconds until the deadline, never 0, which would mean something else to a socket."""
        return max(0.001, self._deadline - time.monotonic())

    def _refusal(self, reason: str) -> InvalidRequest:
        return InvalidRequest(f"the URL was not fetched: {reason}", param=self._param)

    def _too_slow(self) -> EditXError:
        return self._refusal(f"it took longer than {self._timeout:g} s")

    def _too_long(self, size: str) -> TooLarge:
        return TooLarge(
            f"the file at the URL has {size}, and at most {self._max_bytes} bytes are accepted", param=self._param
        )


def _shut(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # it was closed by the other side already
