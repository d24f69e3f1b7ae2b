"""nginx and Caddy with the configurations of deploy/, in front of a server, with TLS."""

from __future__ import annotations

import contextlib
import os
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.deploy.paths import DEPLOY
from tests.deploy.programs import free_port, logged

NAME = "localhost"

# What a distribution's nginx.conf says around the files of conf.d, with nothing outside `root`.
NGINX = """
daemon off;
user root;
pid {root}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {root}/body;
    proxy_temp_path {root}/proxy;
    fastcgi_temp_path {root}/fastcgi;
    uwsgi_temp_path {root}/uwsgi;
    scgi_temp_path {root}/scgi;
    include {root}/conf.d/*.conf;
}}
"""

# The site asks a public authority for its certificate; here Caddy is its own.
CADDY = """
{{
    debug
    admin off
    skip_install_trust
    auto_https disable_redirects
}}
import {file}
"""


@dataclass(frozen=True, slots=True)
class Proxy:
    """Where a proxy listens, and who vouches for its certificate."""

    port: int
    authority: Path

    @property
    def origin(self) -> str:
        return f"https://{NAME}:{self.port}"

    def trust(self) -> ssl.SSLContext:
        """A context for one client, which may set its protocols in it."""
        return ssl.create_default_context(cafile=str(self.authority))

    def client(self) -> httpx.Client:
        """A client that speaks HTTP/2, as browsers do."""
        return httpx.Client(base_url=self.origin, verify=self.trust(), http2=True, timeout=60)


Opener = Callable[[Path, int], AbstractContextManager[Proxy]]


@contextlib.contextmanager
def nginx(root: Path, upstream: int) -> Iterator[Proxy]:
    """nginx in front of 127.0.0.1:`upstream`."""
    port, certificate = free_port(), _certificate(root)
    text = (DEPLOY / "nginx" / "editx.conf").read_text("utf-8")
    for old, new, times in (
        ("127.0.0.1:7860", f"127.0.0.1:{upstream}", 1),
        ("listen 443 ssl", f"listen 127.0.0.1:{port} ssl", 1),
        ("    listen [::]:443 ssl http2;\n", "", 1),
        ("listen 80;", f"listen 127.0.0.1:{free_port()};", 1),
        ("    listen [::]:80;\n", "", 1),
        ("/etc/nginx/editx/", f"{root}/", 2),
        ("editx.example.com", NAME, 2),
    ):
        assert text.count(old) == times, old
        text = text.replace(old, new)
    (root / "conf.d").mkdir()
    (root / "conf.d" / "editx.conf").write_text(text)
    (root / "nginx.conf").write_text(NGINX.format(root=root))
    command = ["nginx", "-p", str(root), "-e", "stderr", "-c", str(root / "nginx.conf")]
    tested = subprocess.run([*command, "-t"], capture_output=True, text=True)
    assert tested.returncode == 0, tested.stderr
    assert "[warn]" not in tested.stderr, tested.stderr
    with logged(command, root) as running:
        running.wait_for_log("start worker process ")
        yield Proxy(port, certificate)


@contextlib.contextmanager
def caddy(root: Path, upstream: int) -> Iterator[Proxy]:
    """Caddy in front of 127.0.0.1:`upstream`."""
    port, file = free_port(), root / "Caddyfile"
    file.write_text(CADDY.format(file=DEPLOY / "caddy" / "Caddyfile"))
    environment = {
        "PATH": os.environ["PATH"],
        "HOME": str(root),
        "EDITX_SITE": f"https://{NAME}:{port}",
        "EDITX_UPSTREAM": f"127.0.0.1:{upstream}",
    }
    config = ["--config", str(file), "--adapter", "caddyfile"]
    validated = subprocess.run(["caddy", "validate", *config], env=environment, capture_output=True, text=True)
    assert validated.returncode == 0, validated.stderr
    with logged(["caddy", "run", *config], root, environment) as running:
        running.wait_for_log("serving initial configuration")
        running.wait_for_log("added certificate to cache")
        yield Proxy(port, root / ".local/share/caddy/pki/authorities/local/root.crt")


def _certificate(root: Path) -> Path:
    """A self-signed certificate for this machine, beside its key."""
    certificate = root / "fullchain.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={NAME}",
         "-addext", f"subjectAltName=DNS:{NAME}", "-keyout", str(root / "privkey.pem"), "-out", str(certificate)],
        check=True,
        capture_output=True,
    )  # fmt: skip
    return certificate
