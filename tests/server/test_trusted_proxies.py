"""Whose X-Forwarded headers count: the cookie of the login says whether the server believes that it is behind TLS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from editx.errors import InvalidRequest
from editx.settings import load_settings
from tests.running import RunningServer, running_server

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.7"}
HERE, BRIDGE = "127.0.0.1", "127.0.0.2"
"""The address of a proxy on the same machine, and one that plays a container engine's bridge."""


def believed(server: RunningServer, peer: str) -> bool:
    """Whether a login that comes from `peer`, and by its headers over TLS, is answered with a cookie for TLS only."""
    with httpx.Client(base_url=server.url, transport=httpx.HTTPTransport(local_address=peer)) as proxy:
        answered = proxy.post("/login", data={"key": "a-key"}, headers=FORWARDED)
    assert answered.status_code == 303, answered.text
    return "; secure" in answered.headers["Set-Cookie"].lower()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    with running_server(tmp_path_factory.mktemp("plain"), env={"EDITX_API_KEY": "a-key"}) as running:
        yield running


def test_a_proxy_on_this_machine_is_believed_and_no_other(plain: RunningServer) -> None:
    assert believed(plain, HERE)
    assert not believed(plain, BRIDGE)


@pytest.mark.parametrize("proxies", ["127.0.0.0/30", "10.0.0.1, 127.0.0.2", "*"])
def test_others_are_believed_where_they_are_named(tmp_path: Path, proxies: str) -> None:
    env = {"EDITX_API_KEY": "a-key", "EDITX_TRUSTED_PROXIES": proxies}
    with running_server(tmp_path, env=env) as running:
        assert believed(running, BRIDGE)
        assert believed(running, HERE) == (proxies != "10.0.0.1, 127.0.0.2")


@pytest.mark.parametrize("wrong", ["localhost", "10.0.0.1/8", "127.0.0.1:80"])
def test_what_is_no_address_is_refused(wrong: str) -> None:
    """A name would never fit, and nobody would be told."""
    with pytest.raises(InvalidRequest, match=r"trusted_proxies: an address such as 127\.0\.0\.1, a network"):
        load_settings(trusted_proxies=f"127.0.0.1,{wrong}")
