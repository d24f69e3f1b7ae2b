"""Whether the port is free, and who has it if not."""

from __future__ import annotations

import http.client
import json
import socket
import urllib.request

import psutil

from editx.doctor.check import Check

NAME = "port"


def check_port(host: str, port: int) -> Check:
    """It is free, or an EditX has it already."""
    facts: dict[str, object] = {"host": host, "port": port}
    if port == 0:
        return Check(NAME, "ok", "0: a free one is taken at the start", facts=facts)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        return Check(NAME, "fail", f"{host} is no address of this machine: {error.strerror}", "correct --host", facts)
    try:
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
            probe.listen(1)
        return Check(NAME, "ok", f"{port} on {host} is free", facts=facts)
    except OSError as error:
        url = f"http://{'127.0.0.1' if host in ('0.0.0.0', '::', '') else host}:{port}"
        if _is_editx(url):
            return Check(NAME, "ok", f"an EditX is running at {url} already", facts=facts)
        holder = _holder(port)
        facts["holder"] = holder
        held = "" if holder is None else f"; {holder} has it"
        return Check(
            NAME, "fail", f"cannot listen on {host} port {port}: {error.strerror}{held}", "choose another with --port",
            facts,
        )  # fmt: skip


def _is_editx(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/openapi.json", timeout=5) as response:
            title = json.load(response)["info"]["title"]
    except (OSError, http.client.HTTPException, ValueError, LookupError, TypeError):
        return False
    return bool(title == "EditX")


def _holder(port: int) -> str | None:
    """The process that listens on `port`, None where nobody does or the system does not tell."""
    try:
        listening = [
            found
            for found in psutil.net_connections("tcp")
            if found.status == psutil.CONN_LISTEN and found.laddr and found.laddr.port == port
        ]
    except psutil.AccessDenied:  # macOS tells root only
        return None
    if not listening:
        return None
    pid = next((found.pid for found in listening if found.pid), None)
    if pid is None:
        return "a process of another user"
    try:
        return f"{psutil.Process(pid).name()} (process {pid})"
    except psutil.NoSuchProcess:
        return None
