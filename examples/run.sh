#!/usr/bin/env bash
# `make run`: brings up a standalone Ultravisor below BUILD/run with the example of this folder, shows it, and
# stays until Ctrl-C (or the end of standard input with --until-eof, for tests), which leaves nothing behind.
#   examples/run.sh BUILD [--until-eof]
set -euo pipefail
cd "$(dirname "$0")/.."
B=$(realpath "$1"); until_eof=${2:-}
root=$B/run; bin=$B/bin; way=
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

# --- beginning and end ---------------------------------------------------------------------------------
#
# What lives is known to the instance, not guessed by name: uv-launch on a root directory takes over what an
# earlier one there has left (run/ultravisor/launch.state), and ends it in order at SIGTERM. So whoever was
# killed when, the way to end all of it is the same: see that a uv-launch is there, and ask it.

# Roles are other users, and homes are private (Debian 12 makes them so): where nobody else may pass on the way to
# BUILD, they come to it by another one, a bind mount for as long as this runs. Whom the way is for is in its
# name, so that a run after a killed one finds it again.
passable() {
    local d=$1
    until [ "$d" = / ]; do (($(stat -c '0%a' "$d") & 1)) || return 1; d=$(dirname "$d"); done
}
find_way() {
    passable "$B" || way=/run/ultravisor-build-$(stat -c %i "$B")
    [ -z "$way" ] || { root=$way/run; bin=$way/bin; }
}
make_way() { [ -z "$way" ] || mountpoint -q "$way" || { mkdir -p "$way" && mount --bind "$B" "$way"; }; }
end_way() { [ -z "$way" ] || { umount "$way" && rmdir "$way"; }; }

launch='' ending=''
# Its own session, so that Ctrl-C reaches this script alone, which then stops things in order.
launch_start() { setsid "$bin/uvd" --standalone --root "$root" >>"$root/log" 2>&1 </dev/null & launch=$!; }
# Who has the lock of a uv-launch on this root; looked up, since trying it would take it from one that begins.
lock_holder() {
    local inode; inode=$(stat -c %i "$root/run/ultravisor/launch.lock" 2>/dev/null) || return 0
    awk -v inode=":$inode\$" '$2 == "FLOCK" && $6 ~ inode { print $5; exit }' /proc/locks
}
launch_lives() { [ -n "$launch" ] && kill -0 "$launch" 2>/dev/null; }
launch_end() { # 0: it ended in order, and so did all that it had
    kill -TERM "$launch" 2>/dev/null || true
    wait "$launch" 2>/dev/null || true
    [ ! -e "$root/run/ultravisor/launch.state" ]
}
# What a killed uv-launch has left is adopted by a new one, and ended by that.
end_what_is_left() {
    [ -e "$root/run/ultravisor/launch.state" ] || return 0
    launch_start
    # It has the lock once it listens to signals; one that comes before that would end it alone.
    for _ in $(seq 100); do { [ -z "$(lock_holder)" ] && launch_lives; } || break; sleep 0.05; done
    launch_end && return 0
    die "not all of the Ultravisor in $root could be ended" "$(tail -n 1 "$root/log")" "try: $bin/uvd --standalone --root $root, and Ctrl-C"
}
finish() {
    trap '' INT TERM HUP PIPE
    set +e          # whoever read what we say may be gone
    # Interrupted between the start and its note: the last process in the background is it.
    [ -n "$launch" ] || launch=${!:-}
    [ -z "$ending" ] || say "$ending"
    if launch_lives; then launch_end || true; fi
    end_what_is_left
    rm -rf --one-file-system "$root"
    end_way || die "$way is still a mount of $B" "something of ours is in use there" "try: umount $way"
    echo "Nothing is left of it."
}
bring_up() {
    launch_start
    for _ in $(seq 150); do
        uv list >/dev/null 2>&1 && return
        launch_lives || { tail -n 20 "$root/log" >&2; die "the ultravisor ended" "its last words are above" "try: see what they offer, then make run again"; }
        sleep 0.1
    done
    tail -n 20 "$root/log" >&2
    die "the ultravisor doesn't answer after 15 s" "its last words are above" "try: $bin/uvctl --root $root status"
}

# Somebody else's, or one whose script was killed?
holder=$(lock_holder)
[ -z "$holder" ] || die "an Ultravisor runs in $root already" "its uv-launch is process $holder" "try: Ctrl-C where it was started, or: kill $holder"
find_way
trap finish EXIT
trap 'exit 0' INT TERM HUP PIPE

make_way
end_what_is_left
rm -rf --one-file-system "$root"
mkdir -p "$root"
# What a container's root makes set-user-id is root's on the disk: no user of this host may reach it.
mkdir -m 0700 "$root/roots"
for d in examples/partitions/*.partition; do make_root "$(basename "$d" .partition)"; done
mkdir -p "$root/example"
cp -r examples/partitions examples/policies "$root/example/"
sed -i "s|@ROOTS@|$root/roots|" "$root"/example/partitions/*.partition

say "Bringing up a standalone Ultravisor in $B/run"
ending="Stopping: partitions first, then the ultravisor"
bring_up
grep -E '^<[0-4]>' "$root/log" | sed 's/^<[0-9]>//' | awk '!seen[$0]++' || true

say "uvctl apply $B/run/example"
uv apply -y "$root/example"
say "uvctl start --all"
uv start --all
say "uvctl list"
uv list
say "uvctl resources"
uv resources
cat <<END

Try, in another terminal (as root):
  export ULTRAVISOR_ROOT=$B/run PATH=$B/bin:\$PATH
  uvctl status web            what it holds, and how each thing is enforced
  uvctl exec web -- sh        a shell inside
  uvctl logs batch            what it prints
  uvctl set batch share=0.2   change it while it runs; uvctl history shows who did what
  uvctl why set db cores=8    which line refuses, and what would help
  kill -9 \$(pgrep -xf "uvd --root $root")   and see that nothing happens: uvctl list
Ctrl-C here stops all of it and leaves nothing behind.
END
if [ "$until_eof" = --until-eof ]; then
    cat >/dev/null
else
    # uv-launch may be killed like any other of ours; here this script is who brings it back.
    while true; do
        while launch_lives; do sleep 1 & wait $! || true; done
        [ -e "$root/run/ultravisor/launch.state" ] || exit 0    # it was asked to end, and has
        say "uv-launch was killed; partitions ran on, and a new one takes over"
        bring_up
    done
fi
