#!/bin/sh
# Installs the Debian packages named, if one of them is missing; says what it does. Needs root only then.
set -eu
missing=
for p in "$@"; do
    dpkg-query -W -f '${db:Status-Status}' "$p" 2>/dev/null | grep -qx installed || missing="$missing $p"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
    echo "packages are missing:$missing" >&2
    echo "only root can install them" >&2
    echo "try: sudo make run, or: sudo apt-get install$missing" >&2
    exit 1
fi
echo "Installing packages:$missing"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp) stopped=
trap 'rm -f "$log"; exit 130' INT TERM
# Ctrl-C ends a download at once. It never meets dpkg, which would leave a package half installed: what is being
# installed is installed, in a session of its own, and the signal is taken after that.
# shellcheck disable=SC2086
install() {
    apt-get update -qq && apt-get install -y -qq --no-install-recommends --download-only $missing || return
    trap 'stopped=1' INT TERM
    setsid -w apt-get install -y -qq --no-install-recommends $missing
}
if ! install >"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "the packages can't be installed:$missing" >&2
    echo "apt-get's last words are above, all of them in $log" >&2
    echo "try: apt-get update && apt-get install$missing" >&2
    exit 1
fi
rm -f "$log"
[ -z "$stopped" ] || exit 130
