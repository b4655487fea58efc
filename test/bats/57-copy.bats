# uvctl copy: files in and out of a container that has no tar, by a caller who believes nothing of what comes out.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    instance_up "$PART"
    busybox_root "$ROOT/tree"
    ln -sf busybox "$ROOT/tree/bin/ln"; ln -sf busybox "$ROOT/tree/bin/mkfifo"; chmod 1777 "$ROOT/tree/tmp"
    definition box "[Partition]
Type=container
StopTimeout=3s
[CPU]
Share=0.5
[Memory]
Size=64M
[Container]
Root=$ROOT/tree
Exec=sleep 1000"
    uv apply -y; uv start box
    mkdir -p "$ROOT/src/d/e"; printf 'hello\n' >"$ROOT/src/a"; chmod 640 "$ROOT/src/a"; touch -d 2020-01-02T03:04:05.678 "$ROOT/src/a"
    ln -s a "$ROOT/src/link"; ln -s /nowhere "$ROOT/src/d/dangling"; head -c 200000 /dev/urandom >"$ROOT/src/d/e/big"
    chmod 750 "$ROOT/src/d"; touch -d 2019-01-01 "$ROOT/src/d"
}
teardown_file() { instance_down; }
tree() { (cd "$1" && find . -printf '%p %y %m %T@ %s %l\n' | sed 's/^\(.* d [0-7]* [0-9.]* \)[0-9]*/\1/' | sort); }
temporaries() { find "$1" -name '.uv-copy-*'; }

@test "a tree goes in and comes out again: contents, modes, times, symbolic links" {
    run -0 uv copy "$ROOT/src" box:/srv
    [[ "$output" == "copied into box /srv: 4 files, 195K" ]]
    # Its owner is the partition's root; on the host that is an id of its range.
    [ "$(uv exec box -- stat -c '%u:%g %a' /srv/src/a)" = "0:0 640" ]
    run -0 uv copy box:/srv/src "$ROOT/out"
    [ "$(tree "$ROOT/src")" = "$(tree "$ROOT/out")" ]
    diff -r --no-dereference "$ROOT/src" "$ROOT/out"
    [ "$(stat -c %u "$ROOT/out/a")" = "$(id -u)" ]
    [ -z "$(temporaries "$ROOT/out")$(temporaries "$ROOT/tree/srv")" ]
}

@test "--user: it belongs to that user, who may write where he may" {
    run -0 uv copy --user www "$ROOT/src/a" box:/tmp/mine
    [ "$(uv exec box -- stat -c '%U %a' /tmp/mine)" = "www 640" ]
    run -1 uv copy --user www "$ROOT/src/a" box:/root/mine
    [ "${lines[0]}" = "box:/root/mine: Permission denied" ]
}

@test "where it goes is as with cp: into a directory, as a new name, /. is what is in it" {
    uv copy "$ROOT/src/a" box:/srv/; [ "$(cat "$ROOT/tree/srv/a")" = hello ]
    uv copy "$ROOT/src/a" box:/srv/b; [ "$(cat "$ROOT/tree/srv/b")" = hello ]
    mkdir "$ROOT/here"
    uv copy box:/srv/b "$ROOT/here"; [ "$(cat "$ROOT/here/b")" = hello ]
    uv copy box:/srv/src/d/. "$ROOT/here"; [ -f "$ROOT/here/e/big" ]
    (cd "$ROOT/here" && uv copy box:/srv/b .)
    run -1 uv copy box:/srv/b "$ROOT/here/no/b"; [ "${lines[0]}" = "cannot copy to $ROOT/here/no/b" ]
    run -1 uv copy "$ROOT/none" box:/srv; [ "${lines[0]}" = "cannot copy $ROOT/none" ]; [ "${lines[1]}" = "No such file or directory" ]
    run -1 uv copy box:/none "$ROOT/here"; [ "${lines[0]}" = "box:/none: No such file or directory" ]
    run -1 uv copy "$ROOT/src/a" box:/no/where; [ "${lines[0]}" = "box:/no/where: No such file or directory" ]
    run -2 uv copy "$ROOT/src" "$ROOT/here"; run -2 uv copy box:/a box:/b; run -2 uv copy "$ROOT/src" box:srv; run -2 uv copy box:/srv/.. "$ROOT/here"
    run -4 uv copy nobody:/a "$ROOT/here"
    [ ! -e "$ROOT/here/a" ]
}

@test "a partition's symbolic links lead nowhere on the host, and its set-uid bit stays inside" {
    mkdir "$ROOT/outside"; chmod 777 "$ROOT/outside"
    uv exec box -- ln -s "$ROOT/outside" /srv/out
    uv exec box -- sh -c "cp /bin/busybox /srv/suid 2>/dev/null || cat /bin/busybox >/srv/suid; /bin/busybox chmod 6755 /srv/suid"
    # In: the path is the partition's, where there is no such directory.
    run -1 uv copy "$ROOT/src/a" box:/srv/out/a
    # Out: the link is a link, and a directory of the same name isn't written through it.
    uv copy box:/srv "$ROOT/got"
    [ -L "$ROOT/got/out" ]; [ "$(stat -c %a "$ROOT/got/suid")" = 755 ]
    uv exec box -- sh -c 'rm -f /srv/out 2>/dev/null || /bin/busybox rm /srv/out; mkdir /srv/out; echo evil >/srv/out/evil'
    run -1 uv copy box:/srv/. "$ROOT/got"
    [[ "$output" == *"$ROOT/got/out: Not a directory"* ]]
    [ -z "$(ls -A "$ROOT/outside")" ]
}

@test "names that a partition made don't write on the terminal" {
    uv exec box -- sh -c 'mkdir /srv/odd; /bin/busybox mkfifo "$(printf "/srv/odd/x\033]0;evil\007y")"; echo 1 >"$(printf "/srv/odd/line\nfeed")"'
    run -1 uv copy box:/srv/odd "$ROOT/odd"
    [[ "$output" == *'box:/srv/odd/x\x1b]0;evil\x07y: no file, directory or symbolic link'* ]]
    [ "$(cat "$ROOT/odd"/line*)" = 1 ]
}

@test "1 GiB with holes goes both ways in 100M of address space, and stays small" {
    truncate -s 1G "$ROOT/sparse"; for at in 0 400000000 1073741000; do head -c 500 /dev/urandom | dd of="$ROOT/sparse" bs=1 seek=$at conv=notrunc status=none; done
    (ulimit -v 100000; uv copy "$ROOT/sparse" box:/srv/)
    (ulimit -v 100000; uv copy box:/srv/sparse "$ROOT/sparse2")
    cmp "$ROOT/sparse" "$ROOT/sparse2"
    [ "$(stat -c %b "$ROOT/sparse2")" -lt 1000 ]; [ "$(stat -c %b "$ROOT/tree/srv/sparse")" -lt 1000 ]
    rm "$ROOT/sparse" "$ROOT/sparse2" "$ROOT/tree/srv/sparse"
}

@test "interrupted: exit status 130, nothing half at either end, and the next copy works" {
    head -c 400000000 /dev/zero >"$ROOT/large"
    for way in in out; do
        if [ $way = in ]; then from=$ROOT/large to=box:/srv/large; else from=box:/srv/large to=$ROOT/large2; cp --sparse=never "$ROOT/large" "$ROOT/tree/srv/large"; fi
        "$ULV_BIN/uvctl" --root "$ROOT" copy "$from" "$to" >/dev/null 3>&- & pid=$!
        for _ in $(seq 200); do [ -z "$(temporaries "$ROOT/tree/srv")$(temporaries "$ROOT")" ] || break; sleep 0.005; done
        kill -INT "$(pgrep -P $pid)" || true
        status=0; wait $pid || status=$?
        [ "$status" = 130 ] || [ "$status" = 0 ]
        wait_for 5 eval '[ -z "$(temporaries "$ROOT/tree/srv")$(temporaries "$ROOT")" ]'
        [ "$status" = 0 ] || [ $way = out ] || [ ! -e "$ROOT/tree/srv/large" ]
        [ "$status" = 0 ] || [ $way = in ] || [ ! -e "$ROOT/large2" ]
    done
    uv copy "$ROOT/src/a" box:/srv/after
    rm -f "$ROOT"/large* "$ROOT/tree/srv/large"
}

@test "kill -9 of uvctl: the partition's end drops what isn't whole" {
    head -c 400000000 /dev/zero >"$ROOT/large"
    "$ULV_BIN/uvctl" --root "$ROOT" copy "$ROOT/large" box:/srv/large >/dev/null 3>&- & pid=$!
    for _ in $(seq 200); do [ -z "$(temporaries "$ROOT/tree/srv")" ] || break; sleep 0.005; done
    kill -9 $pid
    wait_for 5 eval '[ -z "$(temporaries "$ROOT/tree/srv")" ]'
    wait_for 5 eval '! pgrep -f "copy $ROOT/large"'
    [ "$(uv exec box -- true; echo $?)" = 0 ]
    rm -f "$ROOT/large" "$ROOT/tree/srv/large"
}

@test "a full disk ends it with its name, and leaves nothing half" {
    mkdir "$ROOT/small"; mount -t tmpfs -o size=1m none "$ROOT/small" || skip "no mount here"
    head -c 3000000 /dev/urandom >"$ROOT/tree/srv/three"
    run -1 uv copy box:/srv/three "$ROOT/small"
    left=$(ls -A "$ROOT/small"); umount "$ROOT/small"
    [ "${lines[0]}" = "$ROOT/small/three: No space left on device" ]; [ -z "$left" ]
}

@test "a partition that dies in the middle: no success, nothing half" {
    cp --sparse=never /dev/null "$ROOT/tree/srv/large"; head -c 400000000 /dev/zero >"$ROOT/tree/srv/large"
    "$ULV_BIN/uvctl" --root "$ROOT" copy box:/srv/large "$ROOT/large3" >"$ROOT/said" 2>&1 3>&- & pid=$!
    for _ in $(seq 200); do [ -z "$(temporaries "$ROOT")" ] || break; sleep 0.005; done
    uv stop --force box
    status=0; wait $pid || status=$?
    [ "$status" = 0 ] || [ ! -e "$ROOT/large3" ]
    [ -z "$(temporaries "$ROOT")" ]
    rm "$ROOT/tree/srv/large"
}

@test "with Init=yes it is the uv-init beside the container's own that takes and gives files" {
    busybox_root "$ROOT/sys"; mkdir -p "$ROOT/sys/sbin"
    cp "${B:-$BATS_TEST_DIRNAME/../../build}/test/own-init" "$ROOT/sys/sbin/init"
    definition sys "$(sed -n '/^\[Partition\]/,/^\[Container\]/p' "$ROOT/etc/ultravisor/partitions/box.partition")
Root=$ROOT/sys
Init=yes"
    uv apply -y; uv start sys
    uv copy "$ROOT/src" sys:/srv; uv copy sys:/srv/src "$ROOT/out-sys"
    diff -r --no-dereference "$ROOT/src" "$ROOT/out-sys"
    [ "$(uv exec sys -- stat -c '%u:%g %a' /srv/src/a)" = "0:0 640" ]
    uv copy --user www "$ROOT/src/a" sys:/tmp/mine; [ "$(uv exec sys -- stat -c %U /tmp/mine)" = www ]
    # Its root has rights there over whose files they are; www has none.
    run -1 uv copy --user www sys:/srv/src/a "$ROOT/denied"; [ "${lines[0]}" = "sys:/srv/src/a: Permission denied" ]
    [ ! -e "$ROOT/denied" ]
    uv stop sys
}

@test "one that doesn't run: its root directory, and nothing that a link in it leads to" {
    uv stop box 2>/dev/null || true
    rm -rf --one-file-system "$ROOT/tree/srv" "$ROOT/outside2" "$ROOT/out-stopped"; mkdir "$ROOT/tree/srv" "$ROOT/outside2"; printf secret >"$ROOT/outside2/secret"
    run -0 uv copy "$ROOT/src" box:/srv
    [[ "$output" == "copied into box /srv: 4 files, 195K" ]]
    uv copy box:/srv/src "$ROOT/out-stopped"
    [ "$(tree "$ROOT/src")" = "$(tree "$ROOT/out-stopped")" ]
    ln -s "$ROOT/outside2" "$ROOT/tree/srv/out"; ln -s "$ROOT/outside2/secret" "$ROOT/tree/srv/leak"; ln -s /bin/busybox "$ROOT/tree/srv/own"
    run -1 uv copy "$ROOT/src/a" box:/srv/out/a;   [ "${lines[0]}" = "box:/srv/out/a: No such file or directory" ]
    run -1 uv copy box:/srv/leak "$ROOT/got-leak"; [ "${lines[0]}" = "box:/srv/leak: No such file or directory" ]
    run -1 uv copy box:/srv/../../../..$ROOT/outside2/secret "$ROOT/got-leak"
    [ ! -e "$ROOT/got-leak" ]; [ "$(ls "$ROOT/outside2")" = secret ]
    uv copy box:/srv/own "$ROOT/got-own"; cmp "$ROOT/got-own" /bin/busybox
    # kill -9 of uvctl: both ends hear the end of the pipe, and tidy up.
    head -c 400000000 /dev/zero >"$ROOT/large"
    "$ULV_BIN/uvctl" --root "$ROOT" copy "$ROOT/large" box:/srv/large >/dev/null 2>&1 3>&- & pid=$!
    for _ in $(seq 200); do [ -z "$(temporaries "$ROOT/tree/srv")" ] || break; sleep 0.005; done
    kill -9 $pid; wait $pid 2>/dev/null || true
    wait_for 5 eval '[ -z "$(temporaries "$ROOT/tree/srv")" ]'; rm -f "$ROOT/large" "$ROOT/tree/srv/large"
    # What it wrote when it ran belongs to its root when it runs again.
    uv start box; [ "$(uv exec box -- stat -c '%u:%g %a' /srv/src/a)" = "0:0 640" ]; uv stop box
    [ -z "$(temporaries "$ROOT/tree")" ]
}

@test "one from an image that doesn't run: its kept layer; the image stays as it is, and no start comes between" {
    uv image build busybox
    for w in kept ephemeral; do
        definition "img-$w" "[Partition]
Type=container
StopTimeout=3s
[CPU]
Share=0.2
[Memory]
Size=64M
[Container]
Image=busybox
Writable=$w
Exec=/bin/sleep 1000"
    done
    uv apply -y
    run -3 uv copy "$ROOT/src/a" img-kept:/; [[ "${lines[1]}" == "it has never been started"* ]]
    uv start img-kept img-ephemeral; uv exec img-kept -- sh -c 'echo written >/written'; uv stop img-kept img-ephemeral
    image=$(find "$ROOT/var/lib/ultravisor/images/store" -ls | md5sum)
    uv copy "$ROOT/src" img-kept:/root/; uv copy img-kept:/written "$ROOT/written"; [ "$(cat "$ROOT/written")" = written ]
    uv copy img-kept:/bin/busybox "$ROOT/bb"; cmp "$ROOT/bb" /bin/busybox
    [ "$(find "$ROOT/var/lib/ultravisor/images/store" -ls | md5sum)" = "$image" ]
    uv start img-kept; [ "$(uv exec img-kept -- cat /root/src/a)" = hello ]; uv stop img-kept
    run -3 uv copy "$ROOT/src/a" img-ephemeral:/; [[ "${lines[1]}" == "what it writes ends with it"* ]]
    # A start that comes while it is copied waits for it.
    head -c 300000000 /dev/zero >"$ROOT/large"
    "$ULV_BIN/uvctl" --root "$ROOT" copy -q "$ROOT/large" img-kept:/large 3>&- & pid=$!
    for _ in $(seq 200); do [ -z "$(temporaries "$ROOT/var/lib/ultravisor/writable/img-kept")" ] || break; sleep 0.005; done
    uv start img-kept
    status=0; wait $pid || status=$?; [ $status = 0 ]
    [ "$(uv exec img-kept -- stat -c %s /large)" = 300000000 ]
    uv stop img-kept; uv remove --purge img-kept img-ephemeral; rm -f "$ROOT/large"
    ! grep -q overlay.*"$ROOT" /proc/self/mountinfo
}

@test "of one that doesn't run: who isn't root, and --user, are refused with the command that helps" {
    run -3 uv copy --user www "$ROOT/src/a" box:/srv/
    [ "$output" = "box is not running
--user is looked up by its own uv-init
try: uvctl start box, then again" ]
    sim some Share=0.1 64M; uv apply -y
    run -3 uv copy "$ROOT/src/a" some:/; [ "${lines[1]}" = "only a container has files" ]
}
