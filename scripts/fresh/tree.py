"""A Debian tree that commands run in by chroot. Mounts are left to the mount namespace, which ends with the script."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

SEARCH_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True, slots=True)
class User:
    """Who runs a command: numbers, and the home directory inside the tree."""

    uid: int
    gid: int
    home: str


ROOT = User(0, 0, "/root")


@dataclass(frozen=True, slots=True)
class Tree:
    root: Path

    @classmethod
    def copy(cls, source: Path, root: Path) -> Tree:
        """A tree of its own that begins as `source`."""
        root.mkdir()
        run("cp", "-a", "--reflink=auto", f"{source}/.", str(root))
        return cls(root)

    def inside(self, path: str) -> Path:
        """Where `path` of the tree lies on this machine."""
        return self.root / path.lstrip("/")

    @contextmanager
    def open(self, binds: Sequence[Path] = ()) -> Iterator[None]:
        """Holds what every command needs: /proc, /dev, names of machines; and `binds` of this machine, read-only."""
        for name in ("resolv.conf", "hosts"):
            self.inside(f"etc/{name}").write_bytes(Path("/etc", name).read_bytes())
        made: list[Path] = []
        mounted: list[Path] = []
        try:
            for kind, at in (("proc", "proc"), ("sysfs", "sys")):
                self._mount(mounted, self.inside(at), "-t", kind, kind)
            self._mount(mounted, self.inside("dev"), "--rbind", "/dev")
            for source in binds:
                target = self.inside(str(source))
                if not target.exists():
                    target.mkdir(parents=True)
                    made.append(target)
                self._mount(mounted, target, "--bind", "-o", "ro", str(source))
            yield
        finally:
            for target in reversed(mounted):
                run("umount", "--recursive", "--lazy", str(target))
            for target in reversed(made):
                target.rmdir()

    @staticmethod
    def _mount(mounted: list[Path], target: Path, *options: str) -> None:
        run("mount", *options, str(target))
        mounted.append(target)

    def command(self, words: Sequence[str], *, user: User = ROOT, directory: str = "/") -> list[str]:
        """The command of this machine that runs `words` in the tree; nobody but root has rights beyond a user's."""
        identity = [f"--reuid={user.uid}", f"--regid={user.gid}", "--clear-groups"]
        if user.uid:
            identity += ["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all"]
        return ["chroot", str(self.root), "setpriv", *identity, "env", f"--chdir={directory}", *words]

    def run(
        self, words: Sequence[str], environment: Mapping[str, str], *, user: User = ROOT, directory: str = "/"
    ) -> None:
        """Run `words` with that environment and no other. Raises CalledProcessError where they fail."""
        run(*self.command(words, user=user, directory=directory), environment=surroundings(user, environment))


def surroundings(user: User, environment: Mapping[str, str]) -> dict[str, str]:
    """What a container's command always finds set, and `environment`."""
    return {"PATH": SEARCH_PATH, "HOME": user.home, **environment}


def run(*command: str, environment: Mapping[str, str] | None = None) -> None:
    """Run a command. Raises CalledProcessError where it fails; its output is this script's."""
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, env=environment)
