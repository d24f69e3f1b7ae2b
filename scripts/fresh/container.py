"""Starts an image the way deploy/compose.yaml does, short of a container engine, and asks it for speech."""

from __future__ import annotations

import subprocess
from pathlib import Path

from scripts.fresh.image import Image
from scripts.fresh.server import Refused, Server, free_port
from scripts.fresh.tree import run, surroundings

# A namespace of its own for processes and mounts; root is read-only, /tmp and /data are not.
CONTAINED = """
set -e
root=$1 data=$2
shift 2
mount --rbind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount -t tmpfs tmpfs "$root/tmp"
mount --bind "$data" "$root/data"
exec "$@"
"""


def prove(image: Image, work: Path) -> None:
    """Raises Refused, or CalledProcessError, where the image does not do all that a container should."""
    size = subprocess.run(["du", "-s", "-B1M", "-x", str(image.tree.root)], check=True, capture_output=True, text=True)
    print(f"  the image's files take {size.stdout.split()[0]} MiB", flush=True)
    if image.user.uid == 0:
        raise Refused("the image runs as root")
    data = work / "data"
    data.mkdir()
    run("chown", f"{image.user.uid}:{image.user.gid}", str(data))
    environment = surroundings(image.user, {**image.environment, "EDITX_PORT": str(free_port())})
    inside = image.tree.command(image.command, user=image.user, directory=image.directory)
    health = image.tree.command(image.healthcheck, user=image.user)
    with image.tree.open():
        server = Server(
            ["unshare", "--pid", "--fork", "--mount", "--kill-child", "sh", "-c", CONTAINED, "contained",
             str(image.tree.root), str(data), *inside],
            environment,
        )  # fmt: skip
        try:
            server.wait()
            print(f"  as user {image.user.uid}: the page, and a clone of {server.use():.2f} s", flush=True)
            run(*health, environment=environment)
            print("  the health check passes", flush=True)
        finally:
            code = server.stop()
        if code:
            raise Refused(f"the server ended with {code} on SIGTERM")
        if subprocess.run(health, env=environment, capture_output=True).returncode != 1:
            raise Refused("the health check passes without a server")
        print("  stopped by SIGTERM with 0; the health check fails now", flush=True)
