# A partition whose end of a copy lies: what it sends is what fuzz-copy's corpus has, over the real way into the real
# uvctl. Whatever it is, nothing outside of the directory changes, and no success is claimed for what isn't whole.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    local B=${B:-$BATS_TEST_DIRNAME/../../build}
    CORPUS=$(cd "$BATS_TEST_DIRNAME/../fuzz/corpus/copy" && pwd); export CORPUS
    bin=$(mktemp -d /tmp/uv-hostile-XXXXXX); export bin
    chmod 755 "$bin"; cp -a "$ULV_BIN"/. "$bin"; cp "$B/test/hostile-uv-init" "$bin/uv-init"
    export ULV_BIN=$bin
    instance_up "$PART"
    busybox_root "$ROOT/tree"; mkdir "$ROOT/tree/streams"
    for s in "$CORPUS"/*; do { printf 'uvcopy1\n'; tail -c +2 "$s"; } >"$ROOT/tree/streams/${s##*/}"; done
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
}
teardown_file() { instance_down; rm -rf "$bin"; }

# jail: a directory in which links lead out to what must not change
jail_make() {
    rm -rf --one-file-system "$ROOT/jail"; mkdir -p "$ROOT/jail/in" "$ROOT/jail/out"; printf secret >"$ROOT/jail/out/secret"; chmod 600 "$ROOT/jail/out/secret"
    ln -s ../out "$ROOT/jail/in/a"; ln -s ../out/secret "$ROOT/jail/in/b"; ln -s ../out/new "$ROOT/jail/in/c"
}
jail_same() {
    [ "$(ls -A "$ROOT/jail")" = $'in\nout' ] && [ "$(ls -A "$ROOT/jail/out")" = secret ] && [ "$(cat "$ROOT/jail/out/secret")" = secret ] &&
        [ "$(stat -c %a "$ROOT/jail/out/secret")" = 600 ] && [ -z "$(find "$ROOT/jail" -name '.uv-copy-[0-9a-f]*-*')" ] && [ ! -e /tmp/uv-escape ]
}

@test "what a hostile partition sends reaches nothing outside, stream by stream" {
    good='dir-over-file|dot-tree|file|mode-0|name-temporary|setuid|time-odd|tree|huge-sparse'
    for s in "$CORPUS"/*; do
        s=${s##*/}
        for to in in/t in; do
            jail_make
            status=0; timeout 20 "$ULV_BIN/uvctl" --root "$ROOT" copy "box:/streams/$s" "$ROOT/jail/$to" >"$BATS_TEST_TMPDIR/said" 2>&1 || status=$?
            jail_same || { echo "$s to $to: $(find "$ROOT/jail" -ls)"; return 1; }
            [ $status = 0 ] || [ $status = 1 ] || { echo "$s to $to: exit status $status: $(cat "$BATS_TEST_TMPDIR/said")"; return 1; }
            [ $status = 1 ] || [[ $s =~ ^(link-then-file|file-over-dir|over-link.*|'link-then-into'|$good)$ ]] || { echo "$s to $to is taken: $(cat "$BATS_TEST_TMPDIR/said")"; return 1; }
            [ $status = 0 ] || [ -s "$BATS_TEST_TMPDIR/said" ] || { echo "$s: no word of why"; return 1; }
        done
    done
    jail_make; run -1 uv copy box:/streams/name-dotdot "$ROOT/jail/in"
    [ "${lines[0]}" = "$ROOT/jail/in/name-dotdot: a name in the stream of files that is none (with / in it, . or ..): nothing of it is taken" ]
}

@test "one that takes nothing and says that all is well isn't believed further than that" {
    # What is inside is its own business; we say what its uv-init said, and don't hang.
    head -c 3000000 /dev/zero >"$ROOT/three"
    run -1 timeout 30 "$ULV_BIN/uvctl" --root "$ROOT" copy "$ROOT/three" box:/srv/x
}

@test "one that ends and keeps the pipe is not waited for, and one that says nothing ends by Ctrl-C" {
    jail_make; t0=$SECONDS
    run -1 timeout 40 "$ULV_BIN/uvctl" --root "$ROOT" copy box:/gone "$ROOT/jail/in"
    [ $((SECONDS - t0)) -lt 30 ]
    [ "$output" = $'not all of it was copied\nthe partition\'s end of it ended in the middle' ]
    "$ULV_BIN/uvctl" --root "$ROOT" copy box:/hang "$ROOT/jail/in" >/dev/null 2>&1 3>&- & pid=$!
    sleep 0.5; kill -INT "$(pgrep -P $pid)"
    status=0; wait $pid || status=$?
    [ $status = 130 ]; jail_same
}
