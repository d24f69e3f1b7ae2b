#!/bin/sh
# Debian packages that the tests drive: a browser, and the programs that check what deploy/ holds.
# Installs what is missing when it may; otherwise says what to install.
set -eu

missing=""
need() { # need COMMAND PACKAGE
    command -v "$1" >/dev/null 2>&1 || missing="$missing $2"
}
PATH="$PATH:/usr/sbin:/sbin"
need chromium chromium
need curl curl
need nginx nginx-light
need caddy caddy
need docker-compose docker-compose
need promtool prometheus
need systemd-analyze systemd
need debootstrap debootstrap
[ -e /usr/share/fonts/opentype/noto/NotoSansCJK-Regular.ttc ] || missing="$missing fonts-noto-cjk"

[ -n "$missing" ] || exit 0
if ! command -v apt-get >/dev/null 2>&1; then
    echo "the tests need these programs, by their Debian names:$missing" >&2
    exit 1
fi
if [ "$(id -u)" -eq 0 ]; then
    root=""
elif sudo -n true 2>/dev/null; then
    root="sudo"
else
    echo "the tests need more programs; install them with: sudo apt-get install$missing" >&2
    exit 1
fi
# No service is started by installing it: tests use the programs only. Where systemd runs, the policy decides.
export DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap '$root rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' | $root tee "$policy" >/dev/null
    $root chmod 755 "$policy"
fi
$root apt-get update -qq
# shellcheck disable=SC2086
$root apt-get install -y -qq --no-install-recommends $missing >/dev/null
