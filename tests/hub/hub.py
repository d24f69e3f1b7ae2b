"""A hub of the tests' own: real HTTP on loopback, in both hubs' shapes, that fails when and how it is told to."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

COMMIT = "c0ffee" * 6 + "beef"


@dataclass
class Fault:
    """What goes wrong with a file. Each number counts down with every use.

    `breaks`: so often the connection breaks after half of what was asked for. `refusals`: so often 503 is answered.
    `wrong`: so often another content is sent. `stale_range`: partial answers begin elsewhere.
    """

    breaks: int = 0
    refusals: int = 0
    wrong: int = 0
    without_ranges: bool = False
    stale_range: bool = False
    longer: bool = False
    redirects: bool = False
    gone: bool = False


@dataclass
class Hub:
    """`repositories`: name to path to content. `requests`: path and Range of every request for a file."""

    repositories: dict[str, dict[str, bytes]]
    large: int = 1000
    page: int = 3
    faults: dict[str, Fault] = field(default_factory=dict)
    requests: list[tuple[str, str]] = field(default_factory=list)
    listings: int = 0
    list_refusals: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)
    url: str = ""
    waiting: threading.Event = field(default_factory=threading.Event)
    held: str = ""
    release: threading.Event = field(default_factory=threading.Event)

    def fault(self, path: str) -> Fault:
        return self.faults.get(path, Fault())

    def take(self, path: str, name: str) -> bool:
        """Whether a fault that counts down is to happen now."""
        with self.lock:
            fault = self.fault(path)
            left: int = getattr(fault, name)
            setattr(fault, name, max(0, left - 1))
            return left > 0

    def fetched(self, path: str) -> list[str]:
        """The ranges that were asked for of a file."""
        return [asked for name, asked in self.requests if name == path]


@contextmanager
def running(hub: Hub) -> Iterator[Hub]:
    class Handler(_Handler):
        pass

    Handler.hub = hub
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_port}"
    try:
        yield hub
    finally:
        hub.release.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: Hub
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        path, query = unquote(split.path), parse_qs(split.query)
        owner_and_name = next((name for name in self.hub.repositories if f"/{name}/" in path + "/"), None)
        if path.startswith("/cdn/"):
            self._file(*path.removeprefix("/cdn/").split("|", 1))
        elif owner_and_name is None:
            self._json({"error": "no such repository"}, 404)
        elif path.startswith("/api/"):
            self.hub.listings += 1
            with self.hub.lock:
                refuse, self.hub.list_refusals = self.hub.list_refusals > 0, max(0, self.hub.list_refusals - 1)
            if refuse:
                self._json({"error": "busy"}, 503)
            elif path == f"/api/models/{owner_and_name}/revision/main":
                self._json({"sha": COMMIT})
            elif path == f"/api/models/{owner_and_name}/tree/{COMMIT}":
                self._tree(owner_and_name, int(query.get("cursor", ["0"])[0]))
            elif path == f"/api/v1/models/{owner_and_name}/repo/files":
                self._files(owner_and_name)
            else:
                self._json({"error": "no such route"}, 404)
        else:
            for marker in (f"/{owner_and_name}/resolve/{COMMIT}/", f"/models/{owner_and_name}/resolve/master/"):
                if path.startswith(marker):
                    self._file(owner_and_name, path.removeprefix(marker))
                    return
            self._json({"error": "no such file"}, 404)

    def _tree(self, name: str, cursor: int) -> None:
        files = sorted(self.hub.repositories[name].items())
        entries: list[dict[str, object]] = [{"type": "directory", "path": "folder", "size": 0, "oid": "0" * 40}]
        for path, data in files[cursor : cursor + self.hub.page]:
            git = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
            entry: dict[str, object] = {"type": "file", "path": path, "size": len(data), "oid": git}
            if len(data) >= self.hub.large:
                entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
            entries.append(entry)
        following = cursor + self.hub.page
        link = f'<{self.hub.url}/api/models/{name}/tree/{COMMIT}?recursive=true&cursor={following}>; rel="next"'
        self._json(entries, headers={"Link": link} if following < len(files) else {})

    def _files(self, name: str) -> None:
        files = [
            {"Type": "blob", "Path": path, "Size": len(data), "Sha256": hashlib.sha256(data).hexdigest()}
            for path, data in self.hub.repositories[name].items()
        ]
        self._json({"Code": 200, "Data": {"Files": [{"Type": "tree", "Path": "folder", "Size": 0}, *files]}})

    def _file(self, name: str, path: str) -> None:
        hub, fault = self.hub, self.hub.fault(path)
        data = hub.repositories[name].get(path)
        if data is None or fault.gone:
            self._json({"error": "no such file"}, 404)
            return
        if fault.redirects and not self.path.startswith("/cdn/"):
            self._head(302, 0, {"Location": f"{hub.url}/cdn/{name}|{path}"})
            return
        asked = self.headers.get("Range", "")
        with hub.lock:
            hub.requests.append((path, asked))
        if hub.take(path, "refusals"):
            self._json({"error": "busy"}, 503, {"Retry-After": "0"})
            return
        if hub.take(path, "wrong"):
            data = bytes(byte ^ 1 for byte in data)
        start = 0 if fault.without_ranges or not asked else int(asked.removeprefix("bytes=").removesuffix("-"))
        if start >= len(data) > 0:
            self._head(416, 0, {"Content-Range": f"bytes */{len(data)}"})
            return
        body = data[start:] + (b"more" if fault.longer else b"")
        headers = {}
        if start:
            first = start + 1 if fault.stale_range else start
            headers = {"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"}
        self._head(206 if start else 200, len(body), headers)
        if hub.take(path, "breaks"):
            self.wfile.write(body[: len(body) // 2])
            self.close_connection = True
            return
        if hub.held == path:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            hub.waiting.set()
            hub.release.wait(60)
            self.close_connection = True
            return
        self.wfile.write(body)

    def _json(self, value: object, code: int = 200, headers: dict[str, str] | None = None) -> None:
        body = json.dumps(value).encode()
        self._head(code, len(body), {"Content-Type": "application/json", **(headers or {})})
        self.wfile.write(body)

    def _head(self, code: int, length: int, headers: dict[str, str]) -> None:
        self.send_response(code)
        for name, value in {"Content-Length": str(length), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
