from __future__ import annotations

import contextlib
import http.server
import ipaddress
import resource
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import unquote

import psutil
import pytest

from editx.cancellation import Cancellation
from editx.errors import Cancelled, InvalidRequest, TooLarge
from editx.fetch import Address, fetch_audio, is_public_address, resolve_host

HERE = ipaddress.ip_address("127.0.0.1")
THERE = ipaddress.ip_address("127.0.0.2")


def only_here(address: Address) -> bool:
    """A policy under which 127.0.0.1 plays the public internet and everything else does not."""
    return address == HERE


class Site(http.server.ThreadingHTTPServer):
    """A web server that answers by path and remembers who was asked for."""

    daemon_threads = False

    def __init__(self, address: str = "127.0.0.1", port: int = 0) -> None:
        super().__init__((address, port), Handler)
        self.asked: list[tuple[str, str]] = []
        self.names: list[str | None] = []
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def url(self, path: str, host: str = "files.example") -> str:
        return f"http://{host}:{self.server_port}{path}"

    def close(self) -> None:
        self.stop.set()
        self.shutdown()
        self.thread.join()
        self.server_close()


class Handler(http.server.BaseHTTPRequestHandler):
    server: Site
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.asked.append((self.headers["Host"], self.path))
        kind, _, rest = self.path.lstrip("/").partition("/")
        getattr(self, f"answer_{kind}")(rest)
        self.close_connection = True

    def answer_bytes(self, count: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", count)
        self.end_headers()
        self.wfile.write(b"x" * int(count))

    def answer_endless(self, rest: str) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while not self.server.stop.is_set():
                self.wfile.write(b"x" * 65536)
        except OSError:
            self.server.asked.append(("cut off", ""))

    def answer_chunked(self, count: str) -> None:
        self.send_response(200)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for _ in range(int(count)):
            self.wfile.write(b"3\r\nabc\r\n")
        self.wfile.write(b"0\r\n\r\n")

    def answer_drip(self, rest: str) -> None:
        """A byte now and then, so that no single read ever times out."""
        self.send_response(200)
        self.end_headers()
        self._drip()

    def answer_dripheaders(self, rest: str) -> None:
        self.wfile.write(b"HTTP/1.1 200 OK\r\nX-Long: ")
        self._drip()

    def answer_silence(self, rest: str) -> None:
        self.server.stop.wait(30)

    def answer_short(self, rest: str) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"x" * 10)

    def answer_zip(self, rest: str) -> None:
        self.send_response(200)
        self.send_header("Content-Encoding", "gzip")
        self.end_headers()

    def answer_status(self, code: str) -> None:
        self.send_response(int(code))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_to(self, target: str) -> None:
        self.send_response(302)
        self.send_header("Location", unquote(target).replace("|", "/"))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def answer_loop(self, count: str) -> None:
        self.answer_to(f"/loop/{int(count) + 1}" if int(count) < 100 else "/bytes/1")

    def answer_hops(self, count: str) -> None:
        self.answer_to(f"/hops/{int(count) - 1}" if int(count) > 1 else "/bytes/7")

    def answer_headers(self, rest: str) -> None:
        body = "\n".join(f"{name}: {value}" for name, value in self.headers.items()).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _drip(self) -> None:
        try:
            while not self.server.stop.wait(0.05):
                self.wfile.write(b"x")
        except OSError:
            pass

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def site() -> Iterator[Site]:
    opened = Site()
    yield opened
    opened.close()


def resolver(*answers: list[Address] | Address) -> Callable[[str], list[Address]]:
    """A name server that gives these answers one after the other, the last one for ever."""
    waiting = list(answers)

    def resolve(host: str) -> list[Address]:
        resolve.asked.append(host)
        answer = waiting.pop(0) if len(waiting) > 1 else waiting[0]
        return answer if isinstance(answer, list) else [answer]

    resolve.asked = []
    return resolve


def fetch(url: str, max_bytes: int = 1_000_000, timeout: float = 20.0, **options) -> bytes:
    options.setdefault("is_public", only_here)
    options.setdefault("resolve", resolver(HERE))
    return fetch_audio(url, max_bytes=max_bytes, timeout=timeout, **options)


def test_a_file_is_fetched_from_the_checked_address_under_its_own_name(site: Site) -> None:
    assert fetch(site.url("/bytes/1000")) == b"x" * 1000
    assert site.asked == [(f"files.example:{site.server_port}", "/bytes/1000")]


def test_a_chunked_file_is_put_together(site: Site) -> None:
    assert fetch(site.url("/chunked/1000")) == b"abc" * 1000


def test_nothing_of_the_environment_is_used(site: Site, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / ".netrc").write_text("machine files.example login a password b")
    monkeypatch.setenv("HOME", str(tmp_path))
    headers = fetch(site.url("/headers/")).decode().lower()
    assert "authorization" not in headers
    assert "cookie" not in headers
    assert "accept-encoding: identity" in headers


def test_unicode_and_spaces_in_a_url_are_encoded(site: Site) -> None:
    fetch(f"http://bücher.example:{site.server_port}/headers/ä b?q=a b&ü=%20#part")
    assert site.asked == [(f"xn--bcher-kva.example:{site.server_port}", "/headers/%C3%A4%20b?q=a%20b&%C3%BC=%20")]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("ftp://files.example/a", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("gopher://files.example/", "only http and https"),
        ("data:audio/wav;base64,AAAA", "only http and https"),
        ("files.example/a.wav", "without a scheme"),
        ("http:///a.wav", "names no host"),
        ("http://user:secret@files.example/", "user name or password"),
        ("http://user@files.example/", "user name or password"),
        ("http://files.example:99999/", "no valid URL"),
        ("http://[::1/", "no valid URL"),
        (f"http://{'a' * 70}.example/", "no valid name"),
    ],
)
def test_urls_that_are_not_fetched(url: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words) as caught:
        fetch(url, param="some_param")
    assert caught.value.param == "some_param"


PRIVATE = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.1.2.3", "172.16.0.1", "172.31.255.255", "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1", "100.127.255.255", "192.0.0.1", "192.0.2.1", "198.18.0.1", "198.51.100.1", "203.0.113.1",
    "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "192.88.99.1", "::", "::1", "fe80::1", "fe80::1%eth0", "fc00::1",
    "fd12:3456::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::127.0.0.1",
    "64:ff9b::7f00:1", "64:ff9b::a00:1", "64:ff9b:1::1", "2002:7f00:1::", "2002:c0a8:101::1", "2001::1", "2001:10::1",
    "2001:db8::1", "fec0::1", "100::1", "3fff::1", "5f00::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1", "192.167.1.1", "223.255.255.255",
    "2606:4700::1111", "2a00:1450::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1",
]  # fmt: skip


@pytest.mark.parametrize("address", PRIVATE)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public_address(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", PUBLIC)
def test_addresses_that_are_public(address: str) -> None:
    assert is_public_address(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0"],
)
def test_every_way_to_write_loopback_is_refused_and_never_connected(site: Site, host: str) -> None:
    with pytest.raises(InvalidRequest, match=r"not public|not found"):
        fetch_audio(site.url("/bytes/1", host), max_bytes=100)
    assert site.asked == []


def test_a_host_with_one_private_address_is_refused(site: Site) -> None:
    with pytest.raises(InvalidRequest, match="not public"):
        fetch(site.url("/bytes/1"), resolve=resolver([HERE, THERE]))
    assert site.asked == []


def test_a_name_that_changes_between_check_and_connection_gains_nothing(site: Site) -> None:
    trap = Site("127.0.0.2", site.server_port)
    try:
        resolve = resolver(HERE, THERE)
        assert fetch(site.url("/bytes/3"), resolve=resolve) == b"xxx"
        assert resolve.asked == ["files.example"]
        assert trap.asked == []
        # The next hop asks anew, and what it hears now is refused.
        with pytest.raises(InvalidRequest, match="not public"):
            fetch(site.url("/to//bytes/3"), resolve=resolver(HERE, THERE))
        assert trap.asked == []
    finally:
        trap.close()


def test_redirects_are_followed_up_to_five(site: Site) -> None:
    assert fetch(site.url("/hops/5")) == b"x" * 7
    with pytest.raises(InvalidRequest, match="more than 5"):
        fetch(site.url("/hops/6"))
    site.asked.clear()
    with pytest.raises(InvalidRequest, match="more than 5"):
        fetch(site.url("/loop/0"))
    assert len(site.asked) == 6


@pytest.mark.parametrize(
    "target",
    ["http://127.0.0.1/", "http://10.0.0.1/", "http://[::1]/", "//169.254.169.254/latest", "http://inside.example/"],
)
def test_a_redirect_to_a_private_address_is_refused(site: Site, target: str) -> None:
    names = {"files.example": [THERE], "inside.example": [HERE]}
    public = Site("127.0.0.2")
    try:
        with pytest.raises(InvalidRequest, match="address that is not public"):
            fetch(
                public.url(f"/to/{target.replace('/', '|')}"),
                resolve=lambda host: names.get(host) or resolve_host(host),
                is_public=lambda address: address == THERE,
            )
        assert len(public.asked) == 1
        assert site.asked == []
    finally:
        public.close()


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://files.example/", "http://a:b@files.example/"])
def test_a_redirect_to_another_kind_of_url_is_refused(site: Site, target: str) -> None:
    with pytest.raises(InvalidRequest, match=r"only http and https|user name"):
        fetch(site.url(f"/to/{target}"))


def test_a_file_that_says_it_is_too_large_is_not_read(site: Site) -> None:
    assert len(fetch(site.url("/bytes/5000"), max_bytes=5000)) == 5000
    with pytest.raises(TooLarge, match="5001 bytes, and at most 5000"):
        fetch(site.url("/bytes/5001"), max_bytes=5000)


def test_a_file_without_end_is_cut(site: Site) -> None:
    started = time.monotonic()
    with pytest.raises(TooLarge, match="at most 200000"):
        fetch(site.url("/endless/"), max_bytes=200_000)
    assert time.monotonic() - started < 5


def given_up(url: str, waits: Callable[[], object], **options) -> None:
    """Fetch `url`, and give it up once it `waits`."""
    cancellation = Cancellation()
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(fetch, url, timeout=25, cancellation=cancellation, **options)
        while not waits():
            assert not fetching.done()
        cancellation.cancel("the client left")
        with pytest.raises(Cancelled):
            fetching.result(15)


@pytest.mark.parametrize("path", ["/drip/", "/dripheaders/", "/silence/"])
def test_a_file_that_nobody_waits_for_is_given_up(site: Site, path: str) -> None:
    given_up(site.url(path), lambda: site.asked)


def test_an_address_that_nobody_waits_for_is_given_up() -> None:
    asked, end = threading.Event(), threading.Event()

    def resolve(host: str) -> list[Address]:
        asked.set()
        end.wait(30)
        return [HERE]

    try:
        given_up("http://files.example/", asked.is_set, resolve=resolve)
    finally:
        end.set()


@pytest.mark.skipif(sys.platform != "linux", reason="where a full backlog leaves a connection waiting")
def test_a_connection_that_nobody_waits_for_is_given_up() -> None:
    with socket.socket() as full, contextlib.ExitStack() as waiting:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        port = full.getsockname()[1]
        for _ in range(3):
            one = waiting.enter_context(socket.socket())
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", port))
        me = psutil.Process()

        def connecting() -> bool:
            tried = [one for one in me.net_connections("tcp") if one.raddr and one.raddr.port == port]
            return len(tried) > 3

        given_up(f"http://files.example:{port}/", connecting)


@pytest.mark.parametrize("path", ["/drip/", "/dripheaders/", "/silence/"])
def test_a_slow_server_is_given_up_in_time(site: Site, path: str) -> None:
    started = time.monotonic()
    with pytest.raises(InvalidRequest, match=r"longer than 0\.7 s"):
        fetch(site.url(path), timeout=0.7)
    assert time.monotonic() - started < 5


def test_time_is_counted_over_all_redirects_and_resolving(site: Site) -> None:
    never = threading.Event()

    def stuck(host: str) -> list[Address]:
        never.wait(30)
        return [HERE]

    started = time.monotonic()
    with pytest.raises(InvalidRequest, match="longer than"):
        fetch(site.url("/bytes/1"), timeout=0.5, resolve=stuck)
    never.set()
    assert time.monotonic() - started < 5


@pytest.mark.parametrize(
    ("path", "words"),
    [("/short/", "broke off"), ("/zip/", "compressed"), ("/status/404", "status 404"), ("/status/500", "status 500"),
     ("/status/204", "status 204"), ("/status/301", "without saying where")],
)  # fmt: skip
def test_answers_that_are_no_file(site: Site, path: str, words: str) -> None:
    with pytest.raises(InvalidRequest, match=words):
        fetch(site.url(path))


def test_a_server_that_speaks_no_http(site: Site) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def talk() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(1000)
                connection.sendall(b"SSH-2.0-OpenSSH_9.0\r\n" * 10)

        thread = threading.Thread(target=talk)
        thread.start()
        with pytest.raises(InvalidRequest, match="did not answer as it should"):
            fetch(f"http://files.example:{port}/")
        thread.join()
    with pytest.raises(InvalidRequest, match="no connection"):
        fetch(f"http://files.example:{port}/")


def test_a_system_that_gives_no_socket_is_no_defect() -> None:
    """As one without IPv6 does for such an address; here it has no descriptor left."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        with pytest.raises(InvalidRequest, match="no connection to"):
            fetch_audio("http://files.example/", max_bytes=1, is_public=only_here, resolve=lambda host: [HERE])
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_name_without_addresses() -> None:
    with pytest.raises(InvalidRequest, match="not found"):
        fetch_audio("http://no-such-host.invalid/", max_bytes=10)
    with pytest.raises(InvalidRequest, match="not found"):
        fetch("http://files.example/", resolve=lambda host: [])


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and a certificate for `files.example` in one file."""
    directory = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", "/CN=files.example", "-addext", "subjectAltName=DNS:files.example",
         "-keyout", directory / "key.pem", "-out", directory / "cert.pem"],
        check=True, capture_output=True,
    )  # fmt: skip
    both = directory / "both.pem"
    both.write_bytes((directory / "key.pem").read_bytes() + (directory / "cert.pem").read_bytes())
    return both


def test_https_is_spoken_under_the_hosts_name(site: Site, certificate: Path) -> None:
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    server.sni_callback = lambda connection, name, context: site.names.append(name)
    site.socket = server.wrap_socket(site.socket, server_side=True)
    trusting = ssl.create_default_context(cafile=str(certificate))

    url = site.url("/bytes/9").replace("http:", "https:")
    assert fetch(url, tls=trusting) == b"x" * 9
    assert site.names == ["files.example"]
    assert site.asked[0][0] == f"files.example:{site.server_port}"
    with pytest.raises(InvalidRequest, match=r"other\.example did not answer as it should.*certificate"):
        fetch(url.replace("files.example", "other.example"), tls=trusting)
    with pytest.raises(InvalidRequest, match="certificate"):
        fetch(url)


def test_no_descriptor_or_thread_stays() -> None:
    me = psutil.Process()
    before = me.num_fds()
    site = Site()
    for path in ("/bytes/1", "/hops/3", "/short/", "/status/500", "/endless/"):
        try:
            fetch(site.url(path), max_bytes=100_000)
        except (InvalidRequest, TooLarge):
            pass
    site.close()
    assert me.num_fds() == before
    assert not [thread for thread in threading.enumerate() if thread.name == "resolve-host"]
