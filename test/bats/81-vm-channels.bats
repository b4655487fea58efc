# Channels that end in VMs: container to VM and VM to VM, by the same program inside (uvguest) and the same test body. One
# libvirtd, one instance, and one boot each of "v" and "w" for all tests.
bats_require_minimum_version 1.5.0
load ../lib/uv
load ../lib/vm

setup_file() {
    BED=$(mktemp -d /tmp/uv-kvm-XXXXXX); chmod 755 "$BED"; export BED
    mkdir -p "$BED/root/bin"
    cp "$ULV_BIN/uvguest" "$BED/root/bin/"
    cp "$ULV_BIN/uvguest" "$BED/root/bin/uvserve"      # so that killall tells it from the others
    vm_bed drivers/char/virtio_console $VFIO
    instance_make "$PART"
    busybox_root "$ROOT/tree"
    cp "$ULV_BIN/uvguest" "$ROOT/tree/bin/"
    local a; for a in seq usleep wc awk cmp killall; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    sleeper web '[Channel "feed"]
Peer=v
Kind=message
Size=64K
[Channel "bytes"]
Peer=v'
    vm v Share=0.5 "" "" '[Channel "feed"]
Peer=web
[Channel "bytes"]
Peer=web
Kind=stream
Size=64K
[Channel "pair"]
Peer=w
Kind=message
Size=64K
[Channel "out"]
Peer=host
Kind=message
Size=64K'
    vm w Share=0.5 "" "" '[Channel "pair"]
Peer=v'
    instance_start
    export ROOT LAUNCH
    uv apply -y -q
    # The VMs first: v has to make the memory of what web will own.
    uv start -q v w
    wait_for 40 booted v 0
    wait_for 40 booted w 0
    guest v '(uvserve serve &)'
    guest w '(uvserve serve &)'
    uv start -q web
}
teardown_file() {
    [ -n "${BED:-}" ] || return 0
    local status=0
    uv stop --force v w web >/dev/null 2>&1 || true
    instance_down || status=1
    vm_bed_down || status=1
    return $status
}
channel() { uv channel list -o json | jq -r --arg c "$1" '.[] | select(.Channel == $c) | .'"$2"; }
state_is() { [ "$(channel "$1" State)" = "$2" ]; }

# --- the same for every kind of end ------------------------------------------------------------------------------
# at END COMMAND: by a shell there. behind END COMMAND: it goes on by itself.
at() { case $1 in v | w) guest "$1" "$2" ;; *) uv exec "$1" -- sh -c "$2" ;; esac; }
behind() { at "$1" "($2) >/dev/null 2>&1 </dev/null &"' :'; }
has() { [ "$(at "$1" "cat $2 2>/dev/null")" = "$3" ]; }
says_at() { at "$1" "grep -q '$3' $2"; }
kill_guests() { at "$1" 'killall -9 uvguest || :'; }
# A container's without asking anybody: also while uvd is away.
lines() { case $1 in web) wc -l </proc/"$WEB"/root/tmp/got ;; *) at "$1" 'wc -l </tmp/got' ;; esac; }
more_comes() { local n; n=$(lines "$1"); wait_for 15 comes_beyond "$1" $((n + 10)); }
comes_beyond() { [ "$(lines "$1")" -gt "$2" ]; }
# Numbered lines from one end, for as long as the test goes on; the other keeps what comes.
receive() { behind "$1" "uvguest cat $2 >>/tmp/got 2>>/tmp/said"; }
begin_traffic() { # FROM TO CHANNEL
    WEB=$(leader web)
    at "$2" ': >/tmp/got; : >/tmp/said'
    receive "$2" "$3"
    behind "$1" '(i=1; while echo $i; do i=$((i+1)); usleep 2000; done | uvguest send '"$3)"
    wait_for 15 comes_beyond "$2" 3
}
end_traffic() { kill_guests "$1"; kill_guests "$2"; }
# Whole numbers, each greater than the one before: nothing half, nothing twice, nothing out of order. And none missing:
in_order() { at "$1" 'awk "!/^[1-9][0-9]*$/ || \$1 <= last { print \"line \" NR \": \" \$0 \" after \" last; bad = 1 } { last = \$1 } END { exit bad }" /tmp/got'; }
none_missing() { at "$1" 'awk "\$1 != last + 1 { print \"line \" NR \": \" \$0 \" after \" last; bad = 1 } { last = \$1 } END { exit bad }" /tmp/got'; }

messages_and_answers() { # A B CHANNEL
    wait_for 10 state_is "$3" connected
    behind "$2" "uvguest cat $3 2 >/tmp/got"
    at "$1" "uvguest send $3 hello; uvguest send $3 again"
    wait_for 5 has "$2" /tmp/got "hello
again"
    behind "$1" "uvguest echo $3"
    at "$2" "uvguest perf $3 100" | tee /dev/stderr | grep -q '^100 round trips of 16 bytes: '
    kill_guests "$1"
}
a_program_dies_and_the_next_goes_on() { # FROM TO CHANNEL
    begin_traffic "$@"
    kill_guests "$2"
    receive "$2" "$3"
    more_comes "$2"
    in_order "$2"
    kill_guests "$1"
    wait_for 5 says_at "$2" /tmp/said 'the other end died'
    kill_guests "$2"
}

@test "container to VM and back: messages arrive, and answers" {
    messages_and_answers web v feed
    messages_and_answers v web feed
}

@test "VM to VM: the same" {
    messages_and_answers v w pair
}

@test "host to VM: the same" {
    behind v 'uvguest echo out'
    run uv channel perf out@v 100 3>&-
    kill_guests v
    echo "$output"
    [[ "$output" == *"100 round trips of 16 bytes: "* ]]
}

@test "a stream carries all bytes, both ways" {
    at web 'seq 1 20000 >/tmp/sent'
    at v 'seq 1 20000 >/tmp/sent'
    behind v 'uvguest cat bytes >/tmp/got'
    at web 'uvguest send bytes </tmp/sent'
    wait_for 10 at v 'cmp /tmp/sent /tmp/got'
    kill_guests v
    behind web 'uvguest cat bytes >/tmp/got'
    at v 'uvguest send bytes </tmp/sent'
    wait_for 10 at web 'cmp /tmp/sent /tmp/got'
    kill_guests web
}

@test "kill -9 of a program at either end: the next one goes on, nothing twice and nothing half, and a death is heard of" {
    a_program_dies_and_the_next_goes_on w v pair
}

@test "a guest that writes nonsense into the memory ends the channel, and nothing else; its next program has it again" {
    behind web 'uvguest cat feed >/tmp/got 2>/tmp/said'
    at v 'uvguest send feed before'
    wait_for 5 has web /tmp/got before
    # The life of its own end, where the device's memory begins: a state that there isn't.
    at v 'd=$(strings /sys/firmware/dmi/tables/DMI | sed -n s/.*channel=feed@//p); a=$(sed -n 3p /sys/bus/pci/devices/$d/resource | cut -d" " -f1); devmem $((a + 1536)) 64 0xffff'
    behind web 'uvguest send feed more 2>>/tmp/said'
    wait_for 5 says_at web /tmp/said 'broke the protocol'
    kill_guests web
    behind web 'uvguest cat bytes >/tmp/got'
    at v 'uvguest send bytes other'
    wait_for 5 has web /tmp/got other
    kill_guests web
    behind v 'uvguest cat feed 1 >/tmp/got'
    at web 'uvguest send feed after'
    wait_for 5 has v /tmp/got after
}

# mine PROGRAM [PARTITION]: pids of this instance, by one grep: the machine is busy with the guests.
mine() {
    local p
    for p in $(grep -lszxF "ULTRAVISOR_ROOT=$ROOT" /proc/[0-9]*/environ); do
        p=${p%/environ}
        [ "$(tr '\0' ' ' 2>/dev/null <"$p/cmdline" | awk -v n="${2:-}" '{ sub(".*/", "", $1); print $1 (n ? " " $2 : "") }')" = "$1${2:+ $2}" ] && echo "${p#/proc/}"
    done
    return 0
}
is_new() { local now; now=$(mine "$2" "$3"); [ -n "$now" ] && [ "$now" != "$1" ]; }

@test "kill -9 of uvd, of the monitors, of the uv-ports: nothing is lost, and the channel stays the same" {
    local who what pid before; before=$(channel feed Number)
    begin_traffic v web feed
    kill -9 "$(mine uvd)"
    more_comes web
    wait_for 10 uv list
    for what in "uv-monitor-kvm v" "uv-monitor-lxc web" "uv-port v" "uv-port web"; do
        pid=$(mine $what | sort -n | head -n 1); kill -9 "$pid"
        wait_for 10 is_new "$pid" $what
        more_comes web
    done
    end_traffic v web
    none_missing web
    wait_for 5 state_is feed connected
    [ "$(channel feed Number)" = "$before" ]
}

@test "the container ends and comes back to a VM that runs: the VM hears of it, same memory, new epoch" {
    local epoch number; epoch=$(channel feed Epoch); number=$(channel feed Number)
    begin_traffic web v feed
    uv stop --force -q web
    wait_for 5 says_at v /tmp/said 'the other end died'
    uv start -q web
    wait_for 5 state_is feed connected
    [ "$(channel feed Number)" = "$number" ]
    [ "$(channel feed Epoch)" -gt "$epoch" ]
    at web 'uvguest send feed 999999'
    wait_for 5 says_at v /tmp/got '^999999$'
    in_order v
    kill_guests v
}

@test "the VM dies: the container hears of it" {
    channel feed Epoch >"$BED/epoch"; channel feed Number >"$BED/number"
    begin_traffic v web feed
    kill -9 "$(leader v)"
    wait_for 5 says_at web /tmp/said 'the other end died'
    wait_for 10 state v failed
}

@test "a QEMU without ivshmem can't start it: the error says so, and nothing is half made" {
    sed 's/ivshmem-doorbell/ivshmem-d00rbell/g' /usr/bin/qemu-system-x86_64 >"$BED/qemu"; chmod 755 "$BED/qemu"
    in_bed mount --bind "$BED/qemu" /usr/bin/qemu-system-x86_64
    run uv start v
    in_bed umount /usr/bin/qemu-system-x86_64
    echo "$output"
    [ "$status" = 1 ]
    [[ "$output" == *"cannot start v"*"'ivshmem-doorbell' is not supported by this QEMU binary"* ]]
    state v failed
    [ ! -e "$ROOT/run/ultravisor/vm/v" ]
    [ -z "$(virsh list --all --name | grep -- -v)" ]
    [ "$(channel feed State)" = waiting ]
}
in_bed() { nsenter -t "$(cat "$BED/pid")" -m "$@"; }

settled() { case $(field v State) in running | failed | defined) ;; *) return 1 ;; esac; }
@test "kill -9 of its monitor, its uv-port or uvd in the middle of a start: a VM with all its channels, or none" {
    local what delay n delays=0.15
    [ -z "${LONG:-}" ] || delays="0.02 0.06 0.1 0.15 0.2 0.3 0.4 0.6"
    for what in "uv-monitor-kvm v" "uv-port v" uvd; do
        for delay in $delays; do
            uv start --no-block -q v
            sleep "$delay"
            kill -9 $(mine $what) 2>/dev/null || true
            wait_for 10 uv list
            wait_for 20 settled
            n=$(virsh list --all --name | grep -c -- -v || true)
            echo "$what killed after $delay s: $(field v State), $(field v Result)"
            if state v running; then [ "$n" = 1 ]; uv stop --force -q v; else [ "$n" = 0 ]; fi
            [ ! -e "$ROOT/run/ultravisor/vm/v" ]
        done
    done
}

@test "the VM comes back to a container that runs: same memory, new epoch, nothing twice" {
    up v
    guest v '(uvserve serve &)'
    wait_for 5 state_is feed connected
    [ "$(channel feed Number)" = "$(cat "$BED/number")" ]
    [ "$(channel feed Epoch)" -gt "$(cat "$BED/epoch")" ]
    at v 'uvguest send feed 999999'
    wait_for 5 says_at web /tmp/got '^999999$'
    kill_guests web
    in_order web
    messages_and_answers w v pair
}

@test "its QEMU has been served: no socket of a channel is left that another could come to" {
    [ "$(ls "$ROOT/run/ultravisor/vm/v" | xargs)" = "call vnc" ]
}

# --- the call interface, by the VM's virtio port; v's programs share it (uvguest serve), w's has it alone ------------
says() { uv status "$1" --lines=0 | grep -qF "Says: $2"; }

@test "a VM's view, READY, STATUS and selftest, with serve and without; a wrong verb is refused" {
    local out
    out=$(at v 'uvguest view')
    [[ "$out" == *"Name=v"*"Type=vm"*"[Memory]"*"Size=96M"*'[Channel "feed"]'* ]]
    [[ "$(at v 'uvguest selftest')" == *"4 checks, 0 failed"* ]]
    at w 'killall uvserve; rm -f /run/ultravisor/call; sleep 1'
    [[ "$(at w 'uvguest view')" == *"Name=w"*'[Channel "pair"]'* ]]
    [[ "$(at w 'uvguest selftest')" == *"4 checks, 0 failed"* ]]
    at v 'uvguest ready "serving v"'
    at w 'uvguest ready "serving w"'
    wait_for 10 says v "serving v"
    wait_for 10 says w "serving w"
    [ "$(field v Ready)" = true ]
    behind w 'uvserve serve'
}

@test "a VM that listens is asked; over the death of uv-port, monitor and uvd it is asked again" {
    at v 'printf "#!/bin/sh\necho \$* >>/tmp/asked\n[ ! -f /tmp/no ]\n" >/bin/answer; chmod 755 /bin/answer'
    behind v 'uvguest listen answer'
    asked() { at v 'cat /tmp/asked' | grep -q "$1"; }
    wait_for 10 asked 'PATH feed connected'
    # Others ask meanwhile; the one that listens goes on listening.
    [[ "$(at v 'uvguest selftest')" == *"4 checks, 0 failed"* ]]
    uv check v
    asked SELFTEST
    at v 'touch /tmp/no'
    run -9 uv check v; [[ "$output" == *"of 5 checks that its guest made 1 failed"* ]]
    at v 'rm /tmp/no'
    local who
    for who in port_of kvm_of; do
        at v ': >/tmp/asked'
        local pid; pid=$($who v | sort -n | head -n 1); kill -9 "$pid"
        wait_for 40 asked 'PATH feed connected'
    done
    kill -9 "$(pids_of uvd)"
    wait_for 20 uv check v
    # Its death is heard of.
    at v 'pkill -9 -f "uvguest liste[n]"; ! pgrep -f "uvguest liste[n]"'
    wait_for 10 uv check v
}
kvm_of() { named uv-monitor-kvm "$1"; }
