"""What somebody does who has a fresh Debian, a copy of the repository, and the README's two commands."""

from __future__ import annotations

from pathlib import Path

from scripts.fresh.host import Host
from scripts.fresh.server import Refused, Server
from scripts.fresh.tree import Tree, User, run, surroundings

NEEDED = ("make", "python3", "python3-venv")
"""Debian packages that the README takes for granted."""

PERSON = User(1000, 1000, "/home/person")
COPY = f"{PERSON.home}/editx"
SELECTION = "tests/test_recipe.py tests/deploy/test_image.py tests/server/test_speech.py"
"""Tests without a server and with one. All of them are run by `make test` where the repository is worked on."""


def serve(base: Path, files: Path, work: Path, host: Host) -> None:
    """`make serve`, and a clone."""
    words = [*_command(files, "make serve"), "ARGS=--port 0"]
    tree = _machine(base, files, work, host)
    with tree.open(host.binds):
        _install(tree, host, NEEDED)
        server = Server(tree.command(words, user=PERSON, directory=COPY), surroundings(PERSON, host.environment))
        try:
            server.wait()
            print(f"  make serve: the page, and a clone of {server.use():.2f} s", flush=True)
        finally:
            server.stop()


def test(base: Path, files: Path, work: Path, host: Host) -> None:
    """All that `make test` sets up, and a few of the tests."""
    words = [*_command(files, "make test"), f"ARGS=-q {SELECTION}"]
    tree = _machine(base, files, work, host)
    with tree.open(host.binds):
        _install(tree, host, NEEDED)
        # What a person without rights is told to have installed.
        tree.run(["scripts/install_test_tools.sh"], host.environment, directory=COPY)
        # Most of what is installed is never imported by these few tests, and need not be compiled for them.
        tree.run(words, {**host.environment, "PIP_NO_COMPILE": "1"}, user=PERSON, directory=COPY)


def _machine(base: Path, files: Path, work: Path, host: Host) -> Tree:
    """A tree with a person in it who has the files."""
    tree = Tree.copy(base, work / f"machine-{files.name}")
    host.configure(tree)
    home = tree.inside(COPY)
    home.parent.mkdir(parents=True)
    run("mv", str(files), str(home))
    run("chown", "-R", f"{PERSON.uid}:{PERSON.gid}", str(home.parent))
    tree.run(["useradd", "--uid", str(PERSON.uid), "--user-group", "--home-dir", PERSON.home, "person"], {})
    return tree


def _install(tree: Tree, host: Host, packages: tuple[str, ...]) -> None:
    environment = {**host.environment, "DEBIAN_FRONTEND": "noninteractive"}
    tree.run(["apt-get", "update", "-qq"], environment)
    tree.run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], environment)


def _command(files: Path, wanted: str) -> list[str]:
    """The words of a command that the README gives. Raises Refused where it gives it no more."""
    lines = (files / "README.md").read_text("utf-8").splitlines()
    if not any(line.startswith(wanted) for line in lines):
        raise Refused(f"the README does not say `{wanted}` any more")
    return wanted.split()
