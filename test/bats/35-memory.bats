# Memory that runs out: the Nth allocation fails, once or from then on, in uvctl and in each role as it starts. Never
# a crash: a word and a status that isn't 0, or the whole work done; and what is recorded stays as it was.
load ../lib/uv

setup_file() {
    instance_up; sim web Share=1 256M; sim db Cores=2 1G; uv apply -y; uv start -a
    export SHIM=$(realpath "$ULV_BIN/../test/crash/alloc-shim.so")
    # A sanitizer's allocator is its own; there the shim sees nothing.
    ! nm -D "$ULV_BIN/uvctl" | grep -q __asan_init || export SANITIZED=1
}
teardown_file() { instance_down; }
setup() { [ -z "${SANITIZED:-}" ] || skip "a sanitizer's allocator can't be made to fail by a library"; }

# every COMMAND...: fails each allocation in turn, until the command gets through as if nothing were.
every() {
    local n status bad=0 done_=0 whole
    whole=$("$@" 2>&1)
    for n in $(seq 1 3000); do
        status=0
        out=$(ULV_FAIL_ALLOC=$n LD_PRELOAD=$SHIM "$@" 2>"$ROOT/err") || status=$?
        [ $status -lt 126 ] || { echo "allocation $n: status $status of: $*"; return 1; }
        if [ $status != 0 ]; then [ -s "$ROOT/err" ] || [ -n "$out" ] || { echo "allocation $n: status $status and no word of: $*"; return 1; }; done_=0
        else done_=$((done_ + 1)); fi
        [ $done_ -lt 40 ] || return 0
    done
    echo "it never got through: $*"; return 1
}

@test "uvctl: each allocation fails once: a word and a status, never a crash, never half an answer as success" {
    every uvctl_ list
    every uvctl_ status web
    every uvctl_ resources -o json
    every uvctl_ plan
    every uvctl_ verify "$ROOT/etc/ultravisor"
}
uvctl_() { "$ULV_BIN/uvctl" --root "$ROOT" "$@"; }

# role NAME: starts it with the Nth allocation failing, for many N; it serves (and is ended) or tells and ends.
role() {
    local n status
    for n in $(seq 1 40) $(seq 47 23 900); do
        for on in "" 1; do
            status=0
            ULV_FAIL_ALLOC=$n ULV_FAIL_ALLOC_ON=$on; export ULV_FAIL_ALLOC
            [ -z "$on" ] && unset ULV_FAIL_ALLOC_ON || export ULV_FAIL_ALLOC_ON
            ULV_PRELOAD=$SHIM timeout -s KILL 0.15 "$ULV_BIN/../test/run-role" "$1" "$ROOT" >"$ROOT/err" 2>&1 || status=$?
            unset ULV_FAIL_ALLOC ULV_FAIL_ALLOC_ON
            case $status in
                137) ;;                                 # it served until it was ended
                0) echo "$1, allocation $n: ended as if well"; return 1 ;;
                1[3-9][0-9]) echo "$1, allocation $n: crashed, status $status"; cat "$ROOT/err"; return 1 ;;
                *) [ -s "$ROOT/err" ] || { echo "$1, allocation $n: status $status and no word"; return 1; } ;;
            esac
        done
    done
}

@test "uvd, uv-command, uv-operations starting with too little memory: they tell and end, or serve; nothing recorded is lost" {
    before=$(uv backup /dev/stdout | grep -E '^row (core|memory|share|parameter) ' | sort)
    uv stop -a --force
    idle=$(uv backup /dev/stdout | grep -E '^row (core|memory|parameter) ' | sort)
    instance_stop
    role uvd; role uv-command; role uv-operations
    instance_start
    [ "$(uv backup /dev/stdout | grep -E '^row (core|memory|parameter) ' | sort)" = "$idle" ]
    uv start -a
    [ "$(field web State)" = running ]
}
