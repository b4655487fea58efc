# Nothing gets out: the probe's acts under both profiles, with each layer off, and roots that change under a start.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/probe

setup_file() {
    roots_make
    instance_up "$PART"
    probe_container app 'Exec=sleep 100000'
    probe_container sys 'Init=yes'
    probe_container nest 'Exec=sleep 100000
User=www
Nesting=yes'
    uv apply -y
}
teardown_file() { instance_down; roots_remove; }

@test "the probe can tell: root in new namespaces without our layers may do most of it" {
    [ "$("$B/test/uvprobe" --list | wc -l)" -ge 80 ]
    run unshare --mount --pid --net --uts --ipc --fork "$B/test/uvprobe"
    [ "$(grep -c '^not ok' <<<"$output")" -ge 80 ]
}

@test "app: none of the acts is allowed, not as root inside" {
    uv start app
    run probe app
    echo "$output"; [ -z "$output" ]
}

@test "app: nor as a user" {
    run probe app --user www
    echo "$output"; [ -z "$output" ]
}

@test "system: the root's own init is PID 1, on a console, and exec stands beside it" {
    uv start sys
    wait_for 5 eval 'uv logs sys | grep -q "own init, console /dev/"'
    [ "$(uv exec sys -- cat /proc/1/comm)" = init ]
    [ "$(field sys State)" = running ]
    uv exec sys -- sh -c 'echo up >/tmp/x; cat /tmp/x'
}

@test "system: the probe is allowed what is documented, and nothing else" {
    run probe sys
    diff <(listed system) <(echo "$output")
}

@test "system: a user inside is allowed no more than its list" {
    run probe sys --user www
    diff <(listed system-user) <(echo "$output")
}

@test "system: stop asks as systemd wants to be asked; its end is told with its status" {
    pid=$(field sys Leader)
    uv stop sys
    [ "$(field sys State)" = defined ]; [ ! -e "/proc/$pid" ]
    uv start sys; kill -TERM "$(field sys Leader)"
    wait_for 5 eval '[ "$(field sys State)" = failed ]'
    run uv status sys; [[ "$output" == *7* ]]
}

@test "Nesting=yes: user namespaces, mounts and a fresh /proc inside; the rest of the list stays shut" {
    uv start nest
    [ "$(uv exec --user www nest -- unshare --user --map-root-user --mount --pid --fork --mount-proc sh -c 'mount -t tmpfs none /tmp && echo $$')" = 1 ]
    run probe nest --user www
    diff <(listed nesting) <(echo "$output")
    uv stop --force nest
}
