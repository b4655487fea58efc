# Mounts and devices of containers: at their start, and given and taken while they run.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    local a; for a in umount readlink wc; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    ln -s ../../../../../../../../etc "$ROOT/tree/srv/up"
    ln -s /etc "$ROOT/tree/srv/abs"
    mkdir "$ROOT/data" "$ROOT/other"
    echo hello >"$ROOT/data/f"
    sleeper web "[Mount \"first\"]
Source=$ROOT/other
Target=/first/deep
ReadOnly=yes
[Device \"fuse\"]
Path=/dev/fuse"
    sleeper two
    uv apply -y -q
    uv start web two -q
}
teardown_file() { instance_down; }
# As root inside, with every right that there is inside: more than any program of the partition has.
inside() { nsenter --target="$(field web Leader)" --user --mount --setuid=0 --setgid=0 "$@"; }
mounts() { grep -c " $ROOT/data \| / /data " "/proc/$(field "${1:-web}" Leader)/mountinfo" || true; }
reached() { uv list -o json | jq -r --arg n "$1" '.[] | select(.Name == "web") | .Attached[] | select(.Name == $n) | "\(.Wanted)\(.Reached) \(.How)"'; }
fails() { ! "$@"; }
dropin() { cat "$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf"; }
kernel_has() { [ -e "$1" ] || skip "this machine has no $1"; }

# bats test_tags=kernel
@test "what a definition names is there from the first moment, and reached" {
    [ "$(reached first)" = "11 ro" ]
    uv exec web -- ls /first/deep
    kernel_has /dev/fuse
    [[ "$(reached fuse)" =~ ^11 ]]
    uv exec web -- sh -c 'exec 3<>/dev/fuse'
    run -1 uv exec two -- test -e /dev/fuse
}

# bats test_tags=kernel
@test "attach: written through, shown, and said in the files; detach: gone, and the files as before" {
    local before; before=$(mounts)
    run uv attach web -n "mount=data:$ROOT/data:/srv/new/data"
    [[ "$output" == *"mount data added"* ]]
    fails uv exec web -- test -e /srv/new/data/f
    uv attach web "mount=data:$ROOT/data:/srv/new/data"
    [ "$(uv exec web -- cat /srv/new/data/f)" = hello ]
    uv exec web -- sh -c 'echo written >/srv/new/data/g'
    [ "$(stat -c '%u %s' "$ROOT/data/g")" = "0 8" ]
    rm "$ROOT/data/g"
    [ "$(reached data)" = "11 rw" ]
    dropin | grep -qx "Source=$ROOT/data"
    run uv status web
    [[ "$output" == *"Mount: 1 of 1   data  $ROOT/data on /srv/new/data, read and write"* ]]
    run uv history web
    [[ "$output" == *"change web: +mount data"* ]]
    run -6 uv attach web "mount=data:$ROOT/other:/elsewhere"
    uv detach web data
    fails uv exec web -- test -e /srv/new/data/f
    [ "$(mounts)" = "$before" ]
    [ -z "$(reached data)" ]
    fails grep -q data <<<"$(dropin)"
    run -4 uv detach web data
    [[ "$output" == *"it has nothing of that name"* ]]
}

@test "undo takes an attach back, and gives back what was detached" {
    uv attach web "mount=data:$ROOT/data:/data" -q
    uv undo "$(uv history web -o name | head -n 1)" -q
    fails uv exec web -- test -e /data/f
    uv attach web "mount=data:$ROOT/data:/data" -q
    uv detach web data -q
    uv undo "$(uv history web -o name | head -n 1)" -q
    uv exec web -- test -e /data/f
    uv detach web data -q
}

# bats test_tags=kernel
@test "read-only holds against root inside, who may mount: at the start and while it runs" {
    uv attach web "mount=data:$ROOT/data:/data:ro" -q
    local at
    for at in /data /first/deep; do
        run ! inside /bin/mount -o remount,bind,rw "$at"
        run ! inside /bin/touch "$at/x"
        [[ "$output" == *"Read-only file system"* ]]
        run ! inside /bin/mount -o remount,rw "$at"
        inside /bin/sh -c "mkdir -p /tmp/again && mount --bind $at /tmp/again && ! mount -o remount,bind,rw /tmp/again && ! touch /tmp/again/x && umount /tmp/again"
    done
    [ ! -e "$ROOT/data/x" ]
    uv detach web data -q
}

# bats test_tags=kernel
@test "a busy one stays, and who has it is said; --force: out of sight at once, not given back before the last has let go" {
    uv attach web "mount=data:$ROOT/data:/data" -q
    "$ULV_BIN/uvctl" --root "$ROOT" exec web -- sh -c 'exec 7</data/f; sleep 4' 3>&- &
    local user=$!
    wait_for 5 sh -c "ls -l /proc/[0-9]*/fd/7 2>/dev/null | grep -q '/data/f'"
    run -1 uv detach web data
    [[ "$output" == *"it is in use: process "*" of this host"* ]]
    [[ "$output" == *"try: uvctl detach --force"* ]]
    [ "$(reached data)" = "11 rw" ]
    dropin | grep -qx "Source=$ROOT/data"
    run -8 uv detach web data --force --wait=1
    fails uv exec web -- test -e /data/f
    [[ "$(reached data)" =~ ^01 ]]
    wait "$user"
    wait_for 5 sh -c "[ -z \"\$('$ULV_BIN/uvctl' --root '$ROOT' list -o json | jq -r '.[].Attached[] | select(.Name == \"data\") | .Name')\" ]"
}

# bats test_tags=kernel
@test "a target that links out of the root leads to a place inside" {
    mkdir -p "$ROOT/tree/etc/uv-lands"
    local at
    for at in up abs; do
        uv attach web "mount=out:$ROOT/data:/srv/$at/uv-lands" -q
        [ "$(uv exec web -- cat /etc/uv-lands/f)" = hello ]
        [ ! -e /etc/uv-lands ]
        uv detach web out -q
    done
}

# bats test_tags=kernel
@test "a copy in another mount namespace of the partition, or bound elsewhere, goes as well" {
    uv attach web "mount=data:$ROOT/data:/data" -q
    "$ULV_BIN/uvctl" --root "$ROOT" exec web -- sleep 30 3>&- & 
    nsenter --target="$(field web Leader)" --user --mount --pid --setuid=0 --setgid=0 /bin/sh -c 'mkdir -p /tmp/b && mount --bind /data /tmp/b'
    uv detach web data
    fails inside /bin/cat /tmp/b/f
    kill %1; wait %1 || true
}

@test "what can't be attached changes nothing and says why" {
    local before; before=$(dropin)
    run -1 uv attach web "mount=bad:$ROOT/nowhere:/bad"
    [[ "$output" == *"cannot attach bad to web"*"$ROOT/nowhere: No such file or directory"*"try: "* ]]
    [ "$(dropin)" = "$before" ]
    [ -z "$(reached bad)" ]
    echo file >"$ROOT/file"
    run -1 uv attach web "mount=bad:$ROOT/file:/bad"
    [[ "$output" == *"Not a directory"* ]]
    run -2 uv attach web "mount=bad:$ROOT/data:/proc/x"
    run -2 uv attach web "mount=bad:$ROOT/data"
    run -2 uv attach web "mount=Bad:$ROOT/data:/bad"
    run -2 uv attach web device=/dev/mem
    run -2 uv attach web device=/dev/../etc/passwd
    run -2 uv attach web device=/tmp/x
    run -4 uv attach nobody device=/dev/fuse
    [ "$(dropin)" = "$before" ]
    uv verify
}

@test "a device has one owner, but for those whose every open is an instance of its own" {
    kernel_has /dev/loop1
    uv attach web device=/dev/loop1 -q
    run -6 uv attach two device=/dev/loop1
    [[ "$output" == *"it is web's (running), and a device has one owner"* ]]
    sleeper three "[Device \"l\"]
Path=/dev/loop1"
    uv apply -y -q
    run -6 uv start three
    uv detach web loop1 -q
    uv start three -q
    uv exec three -- test -b /dev/loop1
    run -6 uv attach web device=/dev/loop1
    uv stop three -q
    uv remove three -q
    uv attach two device=/dev/fuse -q
    uv exec two -- test -c /dev/fuse
    uv detach two fuse -q
}

# bats test_tags=kernel
@test "a read-only device can't be opened for writing, another can; a detached one not at all" {
    kernel_has /dev/loop2
    uv attach web device=/dev/loop2:ro -q
    [ "$(reached loop2)" = "11 ro" ] || skip "no device filter here: $(reached loop2)"
    inside /bin/sh -c 'exec 4</dev/loop2'
    "$ULV_BIN/uvctl" --root "$ROOT" exec web -- sh -c 'exec 4</dev/loop2'
    run ! uv exec web -- sh -c 'exec 4<>/dev/loop2'
    [[ "$output" == *"Operation not permitted"* || "$output" == *"Permission denied"* ]]
    uv detach web loop2 -q
    fails uv exec web -- test -e /dev/loop2
    uv attach web device=loop-two:/dev/loop2 -q
    uv exec web -- sh -c 'exec 4<>/dev/loop2'
    "$ULV_BIN/uvctl" --root "$ROOT" exec web -- sh -c 'exec 7</dev/loop2; sleep 3' 3>&- &
    wait_for 5 sh -c "ls -l /proc/[0-9]*/fd/7 2>/dev/null | grep -q 'loop2'"
    run -1 uv detach web loop-two
    [[ "$output" == *"it is in use: process "* ]]
    wait %1
    uv detach web loop-two -q
}

@test "why answers as the verb would" {
    run uv why attach web "mount=data:$ROOT/data:/data"
    [[ "$output" == *"nothing refuses it"* ]]
    run -6 uv why attach web "mount=first:$ROOT/data:/data"
    run -4 uv why detach web nothing
    run uv why detach web first
    [[ "$output" == *"nothing refuses it"*"mount first removed"* ]]
    [ "$(reached first)" = "11 ro" ]
}

@test "--runtime: until it ends, and the files say nothing of it" {
    uv attach web "mount=data:$ROOT/data:/data" --runtime -q
    fails grep -q 'Mount "data"' <<<"$(dropin)"
    uv attach web "mount=more:$ROOT/other:/more" -q
    uv exec web -- test -e /data/f
    uv detach web more -q
    uv exec web -- test -e /data/f
    uv detach web data -q
    fails uv exec web -- test -e /data/f
}

@test "apply attaches and detaches what the files say, live" {
    sleeper two "[Mount \"data\"]
Source=$ROOT/data
Target=/data"
    run uv apply -y
    [[ "$output" == *"two  change  mount data added  live"* ]]
    uv exec two -- test -e /data/f
    sleeper two
    uv apply -y -q
    fails uv exec two -- test -e /data/f
}

@test "a monitor killed at any moment of an attach or detach leaves it whole: done, or not begun" {
    local before i; before=$(mounts)
    for i in $(seq 12); do
        uv attach web "mount=data:$ROOT/data:/data" --no-block -q || true
        sleep "0.0$((i % 5))$((i % 3))"
        kill -9 "$(monitor_of web)"
        wait_for 10 sh -c "[ \"\$('$ULV_BIN/uvctl' --root '$ROOT' list -o json | jq -r '.[] | select(.Name == \"web\") | .Degraded')\" = false ]"
        wait_for 10 uv exec web -- test -e /data/f
        uv detach web data -q
        [ "$(mounts)" = "$before" ] || { echo "round $i"; cat "/proc/$(field web Leader)/mountinfo"; false; }
    done
    [ "$(grep -c . "$ROOT/run/ultravisor/partition/web/attached")" -le 2 ]
}

@test "a hundred times attached and detached: nothing is left" {
    local before monitor fds i
    before=$(mounts)
    monitor=$(monitor_of web)
    uv attach web "mount=data:$ROOT/data:/data" -q; uv detach web data -q
    fds=$(ls "/proc/$monitor/fd" | wc -l)
    for i in $(seq 100); do
        uv attach web "mount=data:$ROOT/data:/data" -q
        uv detach web data -q
    done
    [ "$(mounts)" = "$before" ]
    [ "$(ls "/proc/$monitor/fd" | wc -l)" = "$fds" ]
    [ "$(ps -o stat= --ppid "$monitor" | grep -c Z)" = 0 ]
    uv resources -a -o json >/dev/null
}
