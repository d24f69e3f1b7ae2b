#!/usr/bin/env bash
# Proves on a fresh Debian 12 that deploy/Dockerfile and the README's two commands work, without a container engine:
# the Dockerfile's own steps run in a tree made by debootstrap, and so do `make serve` and `make test`.
#
#   scripts/fresh.sh                       all of it, from the last commit
#   scripts/fresh.sh image                 one part: image, serve or test
#   scripts/fresh.sh image --build-arg DEVICE=cuda
#
# Needs root (chroot and mounts), debootstrap, git and python3. Package mirrors are those that apt and pip use here.
# Everything is made under $TMPDIR (default /var/tmp), in a mount and process namespace of its own, and is gone afterwards.
set -euo pipefail
cd "$(dirname "$0")/.."

if [ "$(id -u)" -ne 0 ]; then
    echo "scripts/fresh.sh needs root, to make a Debian tree and run in it: sudo make fresh" >&2
    exit 1
fi
PATH="$PATH:/usr/sbin:/sbin"
for tool in debootstrap git python3 unshare setpriv; do
    if ! command -v "$tool" >/dev/null 2>&1; then
        echo "scripts/fresh.sh needs $tool: apt-get install debootstrap git python3 util-linux" >&2
        exit 1
    fi
done

# A minimal Debian is the same for everybody who asks for it within a month.
cache="${XDG_CACHE_HOME:-$HOME/.cache}/editx"
packed="$cache/debian-12-minbase.tar"
work="$(mktemp -d -p "${TMPDIR:-/var/tmp}" editx-fresh.XXXXXXXX)"
running=""

clean_up() {
    code=$?
    trap - EXIT INT TERM
    if [ -n "$running" ] && kill "$running" 2>/dev/null; then
        wait "$running" || true
    fi
    rm -rf --one-file-system "$work"
    exit "$code"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

if [ -n "$(find "$packed" -mtime -30 2>/dev/null)" ]; then
    mkdir "$work/base"
    tar -x --numeric-owner -f "$packed" -C "$work/base"
else
    mirror="$(python3 -c 'from scripts.fresh.host import Host; print(Host.here().mirror() or "")')"
    debootstrap --variant=minbase bookworm "$work/base" ${mirror:+"$mirror"} >"$work/debootstrap.log" ||
        { tail -n 20 "$work/debootstrap.log" >&2; exit 1; }
    rm -rf "$work"/base/var/cache/apt/archives/*.deb
    mkdir -p "$cache"
    tar -c --numeric-owner -f "$packed.part" -C "$work/base" .
    mv "$packed.part" "$packed"
fi

# Whatever is mounted goes with the namespace, and whatever was started with its first process.
mkdir "$work/trees"
unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
    python3 -m scripts.fresh --work "$work/trees" --base "$work/base" --repository "$PWD" "$@" &
running=$!
wait "$running"
running=""
