# AppArmor's profile of containers, parsed, loaded and in force on Debian 12's kernel: nothing works less, and nothing more.
load ../lib/uv
load ../lib/probe

setup_file() {
    roots_make; barriers_make
    [ -x ./apparmor_parser ] || return 0
    install -D apparmor_parser /sbin/apparmor_parser; install -D -m 644 3.0 /etc/apparmor.d/abi/3.0
    instance_up "$PART"
    probe_container app 'Exec=sleep 100000'
    probe_container sys 'Init=yes'
    probe_container nest 'Exec=sleep 100000
User=www
Nesting=yes'
    uv apply -y
}
setup() {
    [ -e /sys/kernel/security/apparmor/profiles ] || skip "this kernel has no AppArmor"
    [ -x ./apparmor_parser ] || skip "the host has no apparmor_parser (Debian package apparmor)"
}
teardown_file() { [ -z "$ROOT" ] || instance_down; roots_remove; barriers_remove; }

@test "the profile is parsed and loaded; before, nobody says that it is used" {
    uv start app; run uv status app; [[ "$output" != *AppArmor* ]]; uv stop --force app
    apparmor_parser -r -K --abort-on-error ultravisor-container
    grep -x 'ultravisor-container (enforce)' /sys/kernel/security/apparmor/profiles
}

@test "app runs under it and the security hooks, status says so, and says so after its monitor was killed" {
    echo nonsense >"$ROOT/run/ultravisor/hooks"     # the kernel's numbers are noted there
    uv start app
    grep -q '^bpf_lsm_socket_create [1-9]' "$ROOT/run/ultravisor/hooks"
    [ "$(cat "/proc/$(field app Leader)/attr/apparmor/current")" = "ultravisor-container (enforce)" ]
    [ "$(uv exec app -- cat /proc/self/attr/apparmor/current)" = "ultravisor-container (enforce)" ]
    run uv status app; [[ "$output" == *", security hooks, AppArmor"* ]]
    kill -9 "$(pids_of uv-monitor-lxc)"
    wait_for 20 eval '[[ "$(uv status app)" == *", security hooks, AppArmor"* ]]'
}

@test "app: none of the acts is allowed, and a shell, files, sockets and /tmp work" {
    run probe app
    echo "$output"; [ -z "$output" ]
    uv exec app -- sh -c 'echo x >/tmp/a && ln -s a /tmp/b && cat /tmp/b /etc/passwd >/dev/null && ps >/dev/null && kill -0 1'
    uv exec app -- sh -c 'nc -l -p 80 >/tmp/got & sleep 1; echo hello | nc 127.0.0.1 80; wait; grep -q hello /tmp/got'
}

@test "system: its own init is PID 1; the probe is allowed nothing that isn't listed, and mounts as a service does" {
    uv start sys
    run probe sys
    [ -z "$(comm -13 <(listed system) <(echo "$output"))" ]
    grep -qx 'mount tmpfs' <<<"$output"
    uv stop sys
}

@test "Nesting=yes: user namespaces, mounts and a fresh /proc inside" {
    uv start nest
    [ "$(uv exec --user www nest -- unshare --user --map-root-user --mount --pid --fork --mount-proc sh -c 'mount -t tmpfs none /tmp && echo $$')" = 1 ]
    uv stop --force nest
}

@test "AppArmor alone: no filter, hooks, masks, device filter, no_new_privs, and all capabilities in its namespace" {
    uv stop --force app
    PART=$(sed 's/^Prefix=.*/Prefix=alone/; s/^UIDRanges=.*/UIDRanges=1900-1950/' <<<"$PART")   # a second instance
    without seccomp+hooks+masks+devices+nnp+caps+noroot apparmor-alone
    uv stop --force app; instance_down
}
