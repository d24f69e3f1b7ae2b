"""python3 -m scripts.fresh --help"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from scripts.fresh import container, newcomer
from scripts.fresh.dockerfile import RecipeError, read
from scripts.fresh.host import Host
from scripts.fresh.image import build, only_what_builders_see
from scripts.fresh.server import Refused
from scripts.fresh.tree import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/fresh.sh", description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="an empty directory for the trees")
    parser.add_argument("--base", type=Path, required=True, help="a tree of a minimal Debian")
    parser.add_argument("--repository", type=Path, required=True)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as of docker build")
    parser.add_argument("part", nargs="*", help="image, serve, test; all without")
    options = parser.parse_args()
    host = Host.here()
    build_args = {"DEVICE": "cpu", **dict(pair.split("=", 1) for pair in options.build_arg)}

    def files(name: str) -> Path:
        """The tracked files of the last commit, in a directory of their own."""
        target = options.work / name
        target.mkdir()
        archive = subprocess.Popen(["git", "-C", str(options.repository), "archive", "HEAD"], stdout=subprocess.PIPE)
        subprocess.run(["tar", "-x", "-C", str(target)], stdin=archive.stdout, check=True)
        if archive.wait():
            raise Refused("git archive failed: this needs the repository, not only its files")
        return target

    def image() -> None:
        context = files("context")
        only_what_builders_see(context)
        recipe = read((options.repository / "deploy/Dockerfile").read_text("utf-8"), build_args)
        container.prove(build(recipe, context, options.base, options.work, host, build_args), options.work)

    parts: dict[str, Callable[[], None]] = {
        "image": image,
        "serve": lambda: newcomer.serve(options.base, files("serve"), options.work, host),
        "test": lambda: newcomer.test(options.base, files("test"), options.work, host),
    }
    if unknown := set(options.part) - parts.keys():
        parser.error(f"no part is called {', '.join(unknown)}; there are {', '.join(parts)}")
    for name in options.part or parts:
        print(f"== {name}", flush=True)
        began = time.monotonic()
        try:
            parts[name]()
        except (Refused, RecipeError, subprocess.CalledProcessError) as error:
            print(f"== {name} FAILED after {time.monotonic() - began:.0f} s: {error}", flush=True)
            return 1
        print(f"== {name} holds ({time.monotonic() - began:.0f} s)", flush=True)
        run("sh", "-c", 'rm -rf --one-file-system "$1"/*', "clean", str(options.work))
    return 0


if __name__ == "__main__":
    sys.exit(main())
