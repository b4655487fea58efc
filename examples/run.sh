#!/usr/bin/env bash
# `make run`: brings up a standalone Ultravisor below BUILD/run with the example of this folder, shows it, and
# stays until Ctrl-C (or the end of standard input with --until-eof, for tests), which leaves nothing behind.
#   examples/run.sh BUILD [--until-eof]
set -euo pipefail
cd "$(dirname "$0")/.."
B=$(realpath "$1"); until_eof=${2:-}
root=$B/run; bin=$B/bin
uv() { "$bin/uvctl" --root "$root" "$@"; }
say() { printf '\n\033[1m%s\033[0m\n' "$*" | if [ -t 1 ]; then cat; else sed 's/\x1b\[[0-9;]*m//g'; fi; }
die() { printf '%s\n' "$@" >&2; exit 1; }

[ "$(id -u)" = 0 ] || die "make run needs root" "it makes namespaces and cgroups" "try: sudo make run"

# A root file system a partition, on the spot: busybox, an /etc/passwd, and a program that does something.
make_root() {
    local r=$root/roots/$1
    [ -x "$r/bin/busybox" ] && return
    mkdir -p "$r"/{bin,etc,proc,sys,dev,tmp,run,root,srv}
    cp /bin/busybox "$r/bin/busybox"
    local a; for a in $(/bin/busybox --list); do [ "$a" = busybox ] || ln -sf busybox "$r/bin/$a"; done
    echo 'root:x:0:0:root:/root:/bin/sh' >"$r/etc/passwd"
    echo 'www:x:33:33:www:/srv:/bin/sh' >>"$r/etc/passwd"
    echo 'root:x:0:' >"$r/etc/group"
    cp examples/work.sh "$r/bin/work"; chmod 755 "$r/bin/work"
}

launch=
finish() {
    trap '' INT TERM
    if [ -n "$launch" ] && kill -0 "$launch" 2>/dev/null; then
        say "Stopping: partitions first, then the ultravisor"
        kill -TERM "$launch" 2>/dev/null || true
        wait "$launch" 2>/dev/null || true
    fi
    rm -rf --one-file-system "$root"
    echo "Nothing is left of it."
}
trap finish EXIT
trap 'exit 0' INT TERM

rm -rf --one-file-system "$root"
mkdir -p "$root"
for d in examples/partitions/*.partition; do make_root "$(basename "$d" .partition)"; done
mkdir -p "$root/example"
cp -r examples/partitions examples/policies "$root/example/"
sed -i "s|@ROOTS@|$root/roots|" "$root"/example/partitions/*.partition

say "Bringing up a standalone Ultravisor in $root"
# Its own session, so that Ctrl-C reaches this script alone, which then stops things in order.
setsid "$bin/uvd" --standalone --root "$root" >"$root/log" 2>&1 </dev/null &
launch=$!
for i in $(seq 150); do
    uv list >/dev/null 2>&1 && break
    kill -0 "$launch" 2>/dev/null || { tail -n 20 "$root/log" >&2; die "the ultravisor ended" "its last words are above" "try: another instance may be running: ls $root/.."; }
    [ "$i" = 150 ] && { tail -n 20 "$root/log" >&2; die "the ultravisor doesn't answer after 15 s" "its last words are above" "try: $bin/uvctl --root $root status"; }
    sleep 0.1
done
grep -E '^<[0-4]>' "$root/log" | sed 's/^<[0-9]>//' | sort -u || true

say "uvctl apply $root/example"
uv apply -y "$root/example"
say "uvctl start --all"
uv start --all
say "uvctl list"
uv list
say "uvctl resources"
uv resources
cat <<END

Try, in another terminal (as root):
  export ULTRAVISOR_ROOT=$root PATH=$bin:\$PATH
  uvctl status web            what it holds, and how each thing is enforced
  uvctl exec web -- sh        a shell inside
  uvctl logs batch            what it prints
  uvctl set batch share=0.2   change it while it runs; uvctl history shows who did what
  uvctl why set db cores=8    which line refuses, and what would help
  kill -9 \$(pgrep -x uvd)     and see that nothing happens: uvctl list
Ctrl-C here stops all of it and leaves nothing behind.
END
if [ "$until_eof" = --until-eof ]; then cat >/dev/null; else while kill -0 "$launch" 2>/dev/null; do sleep 1 & wait $! || true; done; fi
