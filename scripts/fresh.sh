#!/usr/bin/env bash
# Proves on a fresh Debian 12 that deploy/Dockerfile and the README's two commands work, without a container engine:
# the Dockerfile's own steps run in a tree made by debootstrap, and so do `make serve` and `make test`.
#
#   scripts/fresh.sh                       all of it, from the last commit
#   scripts/fresh.sh image                 one part: image, serve or test
#   scripts/fresh.sh image --build-arg DEVICE=cuda
#
# Needs root (chroot and mounts), debootstrap, git and python3. Package mirrors are those that apt and pip use here.
# What it makes lies in memory where there is plenty of it, else under $TMPDIR (default /var/tmp), and is gone afterwards;
# the bare Debian stays for the next time, in ~/.cache/editx/debian-12-minbase.tar.
set -euo pipefail

PLENTY_KB=$((12 * 1024 * 1024))

main() {
    cd "$(dirname "$0")/.."
    if [ "$(id -u)" -ne 0 ]; then
        echo "scripts/fresh.sh needs root, to make a Debian tree and run in it: sudo make fresh" >&2
        exit 1
    fi
    export PATH="$PATH:/usr/sbin:/sbin"
    for tool in debootstrap git python3 unshare setpriv; do
        if ! command -v "$tool" >/dev/null 2>&1; then
            echo "scripts/fresh.sh needs $tool: apt-get install debootstrap git python3 util-linux" >&2
            exit 1
        fi
    done
    if ! unshare --mount true 2>/dev/null; then
        echo "scripts/fresh.sh may not mount anything here; in a container it needs CAP_SYS_ADMIN" >&2
        exit 1
    fi
    export PYTHONDONTWRITEBYTECODE=1
    work="$(mktemp -d -p "${TMPDIR:-/var/tmp}" editx-fresh.XXXXXXXX)"
    running=""
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM
    # Whatever is mounted goes with this namespace, and whatever was started with its first process.
    unshare --mount --propagation private --pid --fork --kill-child --mount-proc \
        bash scripts/fresh.sh inside "$work" "$@" &
    running=$!
    wait "$running"
    running=""
}

clean_up() {
    code=$?
    trap - EXIT INT TERM
    if [ -n "$running" ] && kill -KILL "$running" 2>/dev/null; then
        wait "$running" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$work"
    exit "$code"
}

inside() { # inside WORK ARGUMENTS...
    work=$1
    shift
    available="$(awk '$1 == "MemAvailable:" { print $2 }' /proc/meminfo)"
    if [ "$available" -gt "$PLENTY_KB" ]; then
        mount -t tmpfs -o "mode=755,size=$((available * 3 / 4))k" tmpfs "$work"
    fi
    chmod 755 "$work"
    make_base "$work/base"
    mkdir "$work/trees"
    python3 -m scripts.fresh --work "$work/trees" --base "$work/base" --repository "$PWD" "$@"
}

make_base() { # make_base TREE; a minimal Debian is the same for everybody who asks for it within a month
    cache="${XDG_CACHE_HOME:-$HOME/.cache}/editx"
    packed="$cache/debian-12-minbase.tar"
    mkdir "$1"
    if [ -n "$(find "$packed" -mtime -30 2>/dev/null)" ]; then
        tar -x --numeric-owner -f "$packed" -C "$1"
        return
    fi
    echo "== debootstrap"
    mirror="$(python3 -c 'from scripts.fresh.host import Host; print(Host.here().mirror() or "")')"
    if ! debootstrap --variant=minbase bookworm "$1" ${mirror:+"$mirror"} >"$1.log"; then
        tail -n 20 "$1.log" >&2
        exit 1
    fi
    rm -rf "$1"/var/cache/apt/archives/*.deb
    mkdir -p "$cache"
    tar -c --numeric-owner -f "$packed.part" -C "$1" .
    mv "$packed.part" "$packed"
}

if [ "${1:-}" = inside ]; then
    "$@"
else
    main "$@"
fi
