# VMs as units of PID 1: a scope like a container's, stopped like one, and no death of ours or of libvirtd's takes one along.
# (This bed's kernel shows no controllers, so libvirt makes no scope of its own; vm/libvirt.bats has one that does.)
load ../lib/systemd

UNIT=uv-partition@v.service
virsh() { command virsh -q -c qemu:///system "$@"; }
# What a monitor's death may not lose, and a stop may not leave.
who() { echo "$(leader v) $(start_ticks "$(leader v)")"; }
is_state() { [ "$(field "$1" State)" = "$2" ]; }
monitor() { local p; p=$(main_pid $UNIT); [ "$p" -gt 1 ] || { echo "no monitor" >&2; return 1; }; echo "$p"; }
# shoot UNIT: SIGKILL for its main process, once it has one (kill 0 would end the tests themselves).
has_main() { [ "$(main_pid "$1")" -gt 1 ]; }
shoot() { wait_for 10 has_main "$1"; kill -9 "$(main_pid "$1")"; }
revived() { local p; p=$(main_pid $UNIT); [ "$p" -gt 1 ] && [ "$p" != "$1" ] && [ "$(field v State)" = running ]; }
nothing() { ! pgrep -f 'guest=ultravisor-v[,]' >/dev/null && [ -z "$(virsh list --all --name | tr -d '\n')" ]; }
inactive() { [ "$(unit_state $UNIT) $(unit_state ultravisor-v.scope)" = "inactive inactive" ]; }

setup_file() {
    test/systemd/libvirtd.sh
    # Init of the guest reacts to the power button, so a stop is in order.
    printf '[Partition]\nType=vm\nRestart=no\nStopTimeout=20s\n[CPU]\nShare=0.5\n[Memory]\nSize=96M\n[VM]\nKernel=/run/virt/vmlinuz\nInitrd=/run/virt/initrd\nCommandLine=console=ttyS0 quiet panic=-1\nAccel=tcg\nAgent=yes\n' \
        >/etc/ultravisor/partitions/v.partition
    systemctl start ultravisor.target
    uvctl apply -y
}
teardown_file() { uvctl stop --force --all || true; systemctl stop ultravisor.target; }
teardown() { [ -n "$BATS_TEST_COMPLETED" ] || { uvctl status v; journalctl -q --no-pager -o cat -n 12 -u "$UNIT"; } >&2; }
setup() { [ "$(field v State)" = running ] || { wait_for 10 uvctl start -q v; } || { journalctl -q --no-pager -o cat -u "$UNIT" | tail -n 20 >&2; return 1; }; }

# bats test_tags=quick
@test "systemctl start starts a VM, and its QEMU is in a scope in uvpool.slice" {
    uvctl stop --force v
    systemctl start $UNIT
    is "$(field v State)" running
    is "$(unit_state $UNIT) $(unit_state ultravisor-v.scope)" "active active"
    grep -q '^0::.*/uvpool.slice/ultravisor-v.scope' "/proc/$(leader v)/cgroup"
    [ "$(basename "$(readlink "/proc/$(leader v)/exe")")" = qemu-system-x86_64 ]
    not grep -q "$(leader v)" "/sys/fs/cgroup$(systemctl show -P ControlGroup $UNIT)/cgroup.procs"
    uvctl check
}

@test "monitor, uvd, libvirtd, and all at once killed -9: the same QEMU, adopted" {
    local before; before=$(who)
    local first; first=$(monitor)
    kill -9 "$first"
    wait_for 10 revived "$first"
    for what in "uvd" "libvirtd" "uvd libvirtd $UNIT"; do
        local old; old=$(monitor)
        local u; for u in $what; do shoot "$u"; done
        case $what in *@*) wait_for 15 revived "$old" ;; esac
        wait_for 15 is_state v running
        is "$(who)" "$before"
    done
    is "$(unit_state ultravisor-v.scope)" active
    wait_for 10 virsh list
    uvctl check
}

@test "upgrade with a VM that runs: another monitor, the same QEMU, and it is still paused and resumed" {
    local before old; before=$(who) old=$(monitor)
    local b f; b=$(uvctl version -o json | jq -r .Build)
    for f in /usr/bin/uvctl /usr/lib/ultravisor/uv*; do
        [ -f "$f" ] && sed "s/$b/1111111111111111/g" "$f" >"$f.new" && chmod 755 "$f.new" && mv "$f.new" "$f"
    done
    uvctl upgrade
    wait_for 15 revived "$old"
    is "$(who)" "$before"
    uvctl pause v
    is "$(virsh domstate ultravisor-v)" paused
    uvctl resume v
    is "$(field v State)" running
}

ready() { uvctl status v | grep -q 'State: running .*, agent ready'; }
type_in() { (printf '%s\n' "$1"; sleep 0.3) | uvctl console --force v >/dev/null || true; }
says() { uvctl logs v | grep -q "$1"; }
@test "the guest's agent: told by an event, shown by status, also to a monitor that comes later and after libvirtd's death" {
    wait_for 15 ready
    shoot libvirtd
    wait_for 10 eval '! ready'
    wait_for 15 ready
    kill -9 "$(monitor)"
    wait_for 10 ready
    is "$(field v State)" running
}

clocks() { uvctl logs v | grep -c '^agent: clock set' || true; }
@test "after a pause the guest's clock is right again" {
    wait_for 15 ready
    local n; n=$(clocks)
    uvctl pause v
    sleep 3
    uvctl resume v
    wait_for 10 eval '[ "$(clocks)" -gt '"$n"' ]'
    type_in 'echo now=$(date +%s)'
    wait_for 5 says '^now='
    local now; now=$(uvctl logs v | tr -d '\r' | sed -n 's/^now=//p' | tail -n 1)
    [ $(($(date +%s) - now)) -le 2 ]
}

@test "paused and resumed by virsh, pause and resume by uvctl still do what they say" {
    virsh suspend ultravisor-v
    uvctl pause v
    is "$(virsh domstate ultravisor-v)" paused
    virsh resume ultravisor-v
    sleep 0.2
    uvctl resume v
    is "$(virsh domstate ultravisor-v) $(field v State)" "running running"
}

# bats test_tags=quick
@test "systemctl stop stops a VM in order, by its agent, and leaves nothing" {
    wait_for 15 ready
    systemctl stop $UNIT
    is "$(field v State)" defined
    inactive
    wait_for 5 nothing
    uvctl logs v | tail -n 5 | grep -q 'agent: shutdown'
    [ ! -e /run/ultravisor/vm/v ]
}

@test "systemctl stop without uvd stops it, and leaves no QEMU; uvd hears of it" {
    wait_for 15 ready
    systemctl stop uvd.service
    systemctl stop $UNIT
    wait_for 5 nothing
    is "$(unit_state ultravisor-v.scope)" inactive
    systemctl start uvd.service
    wait_for 10 is_state v defined
}

@test "a stop whose monitor was killed, and libvirtd hangs: the scope is ended all the same" {
    local d; d=$(systemctl show -P ControlGroup ultravisor-v.scope)
    systemctl kill -s STOP libvirtd.service
    systemctl stop --no-block $UNIT
    kill -9 "$(monitor)"
    wait_for 15 test ! -d "/sys/fs/cgroup$d"
    not pgrep -f 'guest=ultravisor-v[,]'
    systemctl kill -s CONT libvirtd.service
    wait_for 15 nothing
    wait_for 15 is_state v defined
}
