# Partitions that share a tree and start at the same moment. strace holds each openat2() for 50 ms after it was
# answered, so that all of them find a file missing before the first has made it.
bats_require_minimum_version 1.5.0
load ../lib/uv

setup_file() {
    ULV_UNDER="strace -f -qq -o /dev/null -e trace=openat2 -e inject=openat2:delay_exit=50000" instance_up "$PART"
    LAUNCH=$(pgrep -P "$LAUNCH"); export LAUNCH      # the one below strace
    busybox_root "$ROOT/tree"
}
teardown_file() { instance_down; }

@test "partitions that start from one new tree at the same moment don't stumble over each other" {
    local i names="box1 box2 box3"
    for i in $names; do
        definition "$i" "[Partition]
Type=container
StopTimeout=5s
[CPU]
Share=0.1
[Memory]
Size=16M
[Container]
Root=$ROOT/tree
Exec=sleep 1000"
    done
    uv apply -y
    rm -f "$ROOT"/tree/etc/machine-id
    uv start $names
    for i in $names; do [ "$(uv exec "$i" -- cat /etc/machine-id | wc -c)" = 33 ]; done
    uv stop $names
}
