# For Bats inside the systemd bed: an installed Ultravisor under PID 1. `load ../lib/systemd` brings it in.
ROLES="uvd uv-command uv-operations"

main_pid() { systemctl show -P MainPID "$1"; }
# wait_for SECONDS COMMAND...: until it succeeds.
wait_for() {
    local end=$((SECONDS + $1)); shift
    until "$@" >/dev/null 2>&1; do [ $SECONDS -lt $end ] || { echo "not within time: $*" >&2; return 1; }; sleep 0.02; done
}
# Fails a test even in its middle, where `! cmd` doesn't.
not() { if "$@"; then echo "should have failed: $*" >&2; return 1; fi; }
is() { [ "$1" = "$2" ] || { printf 'got:  %s\nwant: %s\n' "$1" "$2" >&2; return 1; }; }

# What a role may do, as the kernel tells it: status_of UNIT FIELD
status_of() { awk -v f="$2:" '$1 == f { print $2 }' "/proc/$(main_pid "$1")/status"; }

# sim NAME "Cores=1 or Share=0.1" SIZE: a definition, written as by hand.
sim() {
    printf '[Partition]\nType=sim\n[CPU]\n%s\n[Memory]\nSize=%s\n' "$2" "$3" >"/etc/ultravisor/partitions/$1.partition"
}

# container NAME [LINES of [Partition]]: a definition with a busybox of its own; its program sleeps.
container() {
    local roots=${ROOTS:-/run/roots} tree a; tree=$roots/$1
    mkdir -p -m 700 "$roots"; mkdir -p "$tree"/{bin,etc,proc,sys,dev,tmp,run,root}
    cp /bin/busybox "$tree/bin/busybox"; for a in sh sleep cat echo ps true trap; do ln -sf busybox "$tree/bin/$a"; done
    echo 'root:x:0:0::/root:/bin/sh' >"$tree/etc/passwd"
    printf '[Partition]\nType=container\n%s\n[CPU]\nShare=0.02\n[Memory]\nSize=32M\n[Container]\nRoot=%s\nExec=%s\n' "${2:-}" "$tree" "${3:-/bin/sleep 10000}" \
        >"/etc/ultravisor/partitions/$1.partition"
}
field() { uvctl list -a -o json | jq -r --arg n "$1" '.[] | select(.Name == $n) | .'"$2"; }
leader() { field "$1" Leader; }
start_ticks() { awk '{ sub(/.*\) /, ""); print $20 }' "/proc/$1/stat" 2>/dev/null; }
unit_state() { systemctl show -P ActiveState "$1"; }
# gone PID: no such process
gone() { [ ! -e "/proc/$1" ]; }
