#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
#
# The first ten minutes, as README.md tells them: on a fresh Debian with git and make, from a clone to a shell in
# a partition in three commands. What is typed is taken out of README.md, so that README and test can't differ.
#   test/first-minutes.sh [SUITE]       bookworm (default) or trixie; prints TAP; as root
#
# How: a Debian tree by mmdebstrap (minbase, git, make, ca-certificates, nothing else), kept beside the beds, is
# copied for each run. It is entered as a machine of its own: mount, PID, UTS and IPC namespaces and pivot_root (in
# a mere chroot the kernel refuses user namespaces). The network and /sys are this host's, and so is /run/lock,
# since the tree's Ultravisor gives out the host's cores, and of those there is one. All of it lies on the disk,
# not on an overlay: the writable layers of partitions are overlays themselves.
set -euo pipefail
READY="Ctrl-C here stops"       # the last line of what `make run` says
UP_SECONDS=400                  # packages, build, example
n=0 failed=0

check() { # check TEXT COMMAND...: one test; what the command says is told if it fails
    local text=$1 status=ok; shift
    "$@" >/tmp/said 2>&1 || status="not ok"
    n=$((n + 1))
    echo "$status $n - $text"
    [ "$status" = ok ] || { failed=1; tail -n 30 /tmp/said | sed 's/^/# /'; }
}

# ---- inside the tree: the newcomer -------------------------------------------------------------------------------

# typed REGEX: README's line of code that begins so, without its comment. Root needs no sudo, and a minimal tree has none.
typed() {
    local line
    line=$(grep -E "^    (sudo )?$1" README.md | sed -E 's/^    (sudo )?//; s/ +#.*//')
    [ -n "$line" ] && [ "$(wc -l <<<"$line")" = 1 ] || { echo "README.md has no such line, or several: $1" >&2; return 1; }
    printf '%s\n' "$line"
}
is_up() {
    local end=$((SECONDS + UP_SECONDS))
    until grep -q "$READY" /tmp/run.out; do
        [ $SECONDS -lt $end ] && kill -0 "$run" 2>/dev/null || { cat /tmp/run.out; return 1; }
        sleep 0.2
    done
}
shell_says() { # COMMAND: root of a container of one's own, as its name says
    printf 'echo I am $(id -u) of $(hostname)\nexit\n' | eval "$1" | tee /dev/stderr | grep -qx "I am 0 of test"
}
is_running() { [[ "$(uvctl list -o json)" == *'"test"'* ]] && uvctl status test | grep -q running; }
ends_clean() {
    local exe
    kill -INT -- "-$run"
    wait "$run" || true
    tail -n 2 /tmp/run.out
    [[ "$(tail -n 1 /tmp/run.out)" = "Nothing is left of it." ]]
    [ ! -e build/run ]
    [ -z "$(git status --porcelain)" ]
    for exe in /proc/[0-9]*/exe; do [[ "$(readlink "$exe")" != "$PWD"/* ]] || { ls -l "$exe"; return 1; }; done
}

newcomer() {
    local run_line export_line new_line shell_line line
    cd /root/ultravisor
    run_line=$(typed 'make run') export_line=$(typed 'export ULTRAVISOR_ROOT=') new_line=$(typed 'uvctl new test ')
    shell_line=$(typed 'uvctl shell test')
    # A terminal's Ctrl-C reaches the group of processes; a script's background commands ignore it unless told otherwise.
    setsid env --default-signal=INT bash -c "$run_line" >/tmp/run.out 2>&1 </dev/null &
    run=$!
    trap 'kill -INT -- "-$run" 2>/dev/null && wait "$run"' EXIT
    check "1. $run_line: packages, build, an example of three partitions" is_up
    echo "# up after $SECONDS s"
    [ $failed = 0 ] || return 1
    eval "$export_line"
    check "2. $new_line" eval "$new_line"
    check "   it runs" is_running
    check "3. $shell_line: root of a container of one's own" shell_says "$shell_line"
    echo "# from the clone to the shell: $SECONDS s"
    # The other lines of that block which end by themselves.
    while read -r line; do check "$line" eval "$line"; done < <(
        sed -nE 's/^    (uvctl( (resources|status|list|history|stop test|remove .*test|set .* -n))?( [a-z]+)?) *(#.*)?$/\1/p' README.md | awk '!seen[$0]++')
    check "Ctrl-C: no process, no file that isn't in build/" ends_clean
    trap - EXIT
    echo "1..$n"
    return $failed
}

# ---- outside: the tree --------------------------------------------------------------------------------------------

skip() { echo "ok 1 - the first ten minutes on $suite # SKIP $*"; exit 0; }

# fresh_tree: makes $tree, kept under the hash of its recipe.
fresh_tree() {
    local packages=git,make,ca-certificates
    # shellcheck disable=SC2154
    tree=$bed_cache/fresh-$suite-$(sha256sum <<<"$suite $packages" | cut -c1-12)
    bed_lock -s
    [ ! -d "$tree" ] || return 0
    bed_lock -x
    if [ ! -d "$tree" ]; then
        bed_say "a fresh Debian $suite by mmdebstrap (20 s)"
        rm -rf --one-file-system "$tree.new"
        mmdebstrap --quiet --mode=root --variant=minbase --include="$packages" "$suite" "$tree.new" >&2 || return 1
        mv "$tree.new" "$tree"
    fi
    bed_lock -s
}

# In namespaces of our own: $1 becomes the root, and the newcomer begins.
enter() {
    cd "$1"
    mount --bind . .
    cd "$1"
    mount -t proc proc proc
    mount --rbind /sys sys
    mount --rbind /dev dev
    mkdir -p run/lock
    mount --bind /run/lock run/lock
    hostname fresh
    mkdir old
    pivot_root . old
    cd /
    umount -l old
    exec env -i HOME=/root TERM=dumb PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin \
        bash /tmp/first-minutes.sh --newcomer
}

# fill ROOT: a copy of the tree with what makes it this host's guest on the network, and the clone.
fill() {
    cp -a "$tree/." "$1/"
    cp --dereference /etc/resolv.conf /etc/hosts "$1/etc/"
    apt-config dump | grep -iE '^Acquire::(https?|ftp)::Proxy' >"$1/etc/apt/apt.conf.d/00host" || true
    git -c safe.directory='*' clone --quiet . "$1/root/ultravisor"
    cp "$0" "$1/tmp/first-minutes.sh"
}

outside() {
    suite=${1:-bookworm}
    cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."
    [ "$(id -u)" = 0 ] || skip "only root can enter another root"
    [ -e .git ] || skip "this is no git checkout, so there is nothing to clone"
    # shellcheck source=test/beds/lib.bash disable=SC1091
    . test/beds/lib.bash
    command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"
    [ ! -s /run/lock/ultravisor.lock ] || skip "another Ultravisor gives this machine's cores: $(cat /run/lock/ultravisor.lock)"
    fresh_tree || skip "a Debian $suite tree can't be had (mmdebstrap failed)"
    root=$(mktemp -d "${TMPDIR:-/tmp}/uv-fresh-XXXXXX"); chmod 755 "$root"
    trap 'rm -rf --one-file-system "$root"' EXIT
    trap 'exit 143' TERM INT HUP
    mkdir -p /run/lock
    fill "$root"
    unshare --mount --pid --uts --ipc --fork --kill-child --propagation private bash "$0" --enter "$root" </dev/null
}

case ${1:-} in
--enter) enter "$2" ;;
--newcomer) newcomer ;;
*) outside "$@" ;;
esac
