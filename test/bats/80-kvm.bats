# VMs, with the real libvirtd and QEMU (emulated: Accel=tcg). One libvirtd for the file (test/beds/libvirt.sh), one
# instance, and one boot of "v" that most tests share. The guest is Debian's cloud kernel with a busybox.
bats_require_minimum_version 1.5.0
load ../lib/uv

virsh() { nsenter -t "$(cat "$BED/pid")" -m virsh -c qemu:///system "$@"; }
logged() { uv logs v | grep -q "$1"; }
# answers COMMAND PATTERN: typed into the guest's shell, until it answers (a uv-port that has just been forked may miss it).
answers() {
    local i
    for i in 1 2 3 4 5; do
        (printf '%s\n' "$1"; sleep 0.3) | uv console --force v >/dev/null || true
        wait_for 3 logged "$2" 2>/dev/null && return 0
    done
    echo "no answer: $1" >&2; return 1
}
says() { wait_for 15 logged "$1"; }
boots() { uv logs "$1" 2>/dev/null | grep -c '^up: '; }
booted() { [ "$(boots "$1")" -gt "$2" ]; }
up() { local n; uv stop --force "$1" >/dev/null 2>&1 || true; n=$(boots "$1") || true; uv start "$1"; wait_for 40 booted "$1" "${n:-0}"; }
leader() { field "${1:-v}" Leader; }
state() { [ "$(field "$1" State)" = "$2" ]; }
libvirtd_away() { touch "$BED/hold"; rm -f "$BED/ready"; kill -9 "$(cat "$BED/libvirtd.pid")"; }
libvirtd_back() { rm -f "$BED/hold"; wait_for 20 test -e "$BED/ready"; }
vm() { # vm NAME CPU [more lines of [VM]] [of [Partition]]
    definition "$1" "[Partition]
Type=vm
StopTimeout=20s
${4:-}
[CPU]
$2
[Memory]
Size=96M
[VM]
Kernel=$BED/vmlinuz
Initrd=$BED/initrd
CommandLine=console=ttyS0 quiet panic=-1
Accel=tcg
${3:-}"
}

# initrd NEW: a shell on the console, drivers of disks, and an end at the power button.
initrd() {
    local r=$BED/initrd.d ver m
    mkdir -p "$r"/{bin,dev,proc,sys}
    cp /bin/busybox "$r/bin/"
    ver=$(debugfs -R 'ls -p /usr/lib/modules' "$1/base.img" 2>/dev/null | awk -F/ '$6 ~ /^6/ {print $6; exit}')
    for m in acpi/button input/evdev virtio/virtio_ring virtio/virtio virtio/virtio_pci_legacy_dev virtio/virtio_pci_modern_dev virtio/virtio_pci block/virtio_blk; do
        debugfs -R "dump /usr/lib/modules/$ver/kernel/drivers/$m.ko $r/${m##*/}.ko" "$1/base.img" 2>/dev/null
    done
    cat >"$r/init" <<'I'
#!/bin/busybox sh
/bin/busybox --install -s /bin
mount -t devtmpfs dev /dev; mount -t proc proc /proc; mount -t sysfs sys /sys
for m in evdev button virtio_ring virtio virtio_pci_legacy_dev virtio_pci_modern_dev virtio_pci virtio_blk; do insmod /$m.ko; done
for e in /dev/input/event*; do (dd if=$e of=/dev/null bs=72 count=1 2>/dev/null && echo "power button" && poweroff -f) & done
echo "up: $(nproc) cpus, $(ls /sys/block)"
while read -r line; do eval "$line"; done
I
    chmod +x "$r/init"
    (cd "$r" && find . | busybox cpio -o -H newc 2>/dev/null) | gzip -1 >"$BED/initrd"
}

setup_file() {
    [ -x /usr/sbin/libvirtd ] || skip "libvirtd isn't installed (package libvirt-daemon)"
    local cache=${ULV_BED_CACHE:-$BATS_TEST_DIRNAME/../../build/beds} vm
    "$BATS_TEST_DIRNAME/../beds/vm.sh" make >&2 3>&- || skip "the VM bed, of which the kernel is, can't be made"
    vm=$(find "$cache" -maxdepth 1 -name 'vm-*' ! -name '*.new' | head -n 1)
    BED=$(mktemp -d /tmp/uv-kvm-XXXXXX); chmod 755 "$BED"; export BED
    cp "$vm/vmlinuz" "$BED/vmlinuz"
    initrd "$vm"
    setsid "$BATS_TEST_DIRNAME/../beds/libvirt.sh" "$BED" >"$BED/log" 2>&1 </dev/null 3>&- &
    wait_for 20 test -e "$BED/ready"
    instance_make "$PART"
    vm v Cores=1
    vm other Share=0.5
    export ULV_UNDER="nsenter -t $(cat "$BED/pid") -m"
    instance_start
    export ROOT LAUNCH
    uv apply -y
    up v
}
teardown_file() {
    [ -n "${BED:-}" ] || return 0
    local status=0
    rm -f "$BED/hold"
    uv stop --force v other >/dev/null 2>&1 || true
    instance_down || status=1
    [ -z "$(virsh list --all --name | tr -d '\n')" ] || { echo "left in libvirt:" >&2; virsh list --all >&2; status=1; }
    kill "$(cat "$BED/pid")" && wait_for 10 test ! -e "/proc/$(cat "$BED/pid")"
    rm -rf --one-file-system "$BED"
    return $status
}

@test "every golden domain is valid by libvirt's own schema" {
    for f in "$BATS_TEST_DIRNAME"/../golden/domain/*.xml; do virt-xml-validate "$f" domain; done
}

@test "a VM boots its kernel and initrd, and its console is in the log" {
    state v running
    says '^up: 1 cpus'
    [ "$(field v Type)" = vm ]
    virsh list --name | grep -qx "ultravisor-[0-9a-f]*-v"
}

@test "its first process is QEMU, confined: a uid of its own, no capability, seccomp, a mount namespace" {
    q=/proc/$(leader)
    [ "$(basename "$(readlink "$q/exe")")" = qemu-system-x86_64 ]
    awk '/^Uid/ { exit !($2 == $3 && $3 == $4 && $2 % 65536 == 0 && $2 > 1879048192) }' "$q/status"
    grep -qx 'CapEff:	0000000000000000' "$q/status"
    grep -qx 'CapPrm:	0000000000000000' "$q/status"
    grep -q '^Seccomp:	2' "$q/status"
    [ "$(readlink "$q/ns/mnt")" != "$(readlink "/proc/$(cat "$BED/pid")/ns/mnt")" ]
}

@test "its files: copies of what it boots, of which none is left, and the administrator's own are as they were" {
    [ "$(stat -c %u:%a "$BED/vmlinuz")" = 0:644 ]
    [ "$(ls "$ROOT/run/ultravisor/vm/v" | xargs)" = "call vnc" ]
    [ "$(stat -c %u:%a "$ROOT/run/ultravisor/vm/v")" = 0:710 ]
}

@test "all threads of QEMU are on the partition's own core, and it is in the partition's own cgroup" {
    core=$(field v 'Cores[0]')
    [ ! -d "$(findmnt -n -o TARGET -t cgroup2 | head -n 1)" ] || grep -q '^0::.*/partition-v$' "/proc/$(leader)/cgroup"
    for t in /proc/"$(leader)"/task/*; do grep -qx "Cpus_allowed_list:	$core" "$t/status"; done
}

@test "what isn't KVM is soft, says so, and a start that wants more is refused" {
    [ "$(field v Isolation)" = soft ]
    uv status v | grep -q 'Isolation: soft (emulated, not KVM, confined)'
    vm other Share=0.5 "" "Isolation=firm"
    uv apply -y
    run -5 uv start other
    echo "$output"
    [[ $output == *"it would be soft: it is emulated (Accel=tcg), which isolates nothing"* ]]
    vm other Share=0.5
    uv apply -y
}

@test "the check finds nothing" {
    run -0 uv check
    echo "$output"
}

@test "what is typed into the console reaches the guest" {
    answers 'echo sum=$((40 + 2))' '^sum=42'
}

@test "exec and signals are refused: nothing of ours is inside" {
    run -2 uv exec v -- true
    [[ $output == *"try: uvctl console v"* ]]
    run -2 uv kill -s HUP v
    [[ $output == *"takes no signal but KILL"* ]]
    state v running
}

@test "the memory of a VM that runs can't be changed, and nothing claims that it was; a changed file counts from the next start" {
    local file=$ROOT/etc/ultravisor/partitions/v.partition
    run uv set v memory=128M
    [ "$status" = 6 ]
    [[ "$output" == *"cannot change the memory of v while it runs"*"uvctl stop v"* ]]
    [ "$(field v MemoryWanted) $(field v MemoryReached)" = "$((96 << 20)) $((96 << 20))" ]
    sed -i 's/^Size=96M/Size=128M/' "$file"
    uv apply -y | grep -E '^v .*Size=.*at next start'
    [ "$(field v MemoryWanted) $(field v MemoryReached)" = "$((96 << 20)) $((96 << 20))" ]
    sed -i 's/^Size=128M/Size=96M/' "$file"
    uv apply -y
    state v running
}

@test "paused, the guest doesn't run; resumed, it goes on" {
    uv pause v
    state v paused
    virsh domstate "$(virsh list --name | grep -- -v)" | grep -qx paused
    before=$(awk '{print $14 + $15}' "/proc/$(leader)/stat"); sleep 0.3
    [ $(($(awk '{print $14 + $15}' "/proc/$(leader)/stat") - before)) -le 2 ]
    uv resume v
    state v running
    answers 'echo again=$((1 + 1))' '^again=2'
}

@test "a monitor killed -9 finds it again: same QEMU, console and all" {
    before="$(leader) $(start_time "$(leader)")"
    kill -9 $(pids_of uv-monitor-kvm)
    wait_for 10 sh -c "[ -n \"\$(pgrep -f 'uv-monitor-kvm v')\" ]"
    answers 'echo adopted=$((2 + 3))' '^adopted=5'
    [ "$before" = "$(leader) $(start_time "$(leader)")" ]
}

@test "uvd, planner and monitor killed -9 at once: it runs on" {
    before="$(leader) $(start_time "$(leader)")"
    kill -9 $(pids_of uvd) $(pids_of uv-command) $(pids_of uv-monitor-kvm)
    wait_for 10 state v running
    [ "$before" = "$(leader) $(start_time "$(leader)")" ]
}

@test "libvirtd killed -9: the VM runs on, a start says what is missing and leaves nothing, the stop waits for libvirtd" {
    before=$(leader)
    libvirtd_away
    answers 'echo alone=$((3 + 4))' '^alone=7'
    state v running
    run -1 uv start other
    echo "$output"
    [[ $output == *"Failed to connect socket"* ]]
    state other failed
    [ ! -e "$ROOT/run/ultravisor/vm/other" ]
    [ "$(field other ShareReached)" = 0 ]
    uv stop --no-block v
    sleep 1.5
    kill -0 "$before"
    libvirtd_back
    wait_for 15 state v defined
    says '^power button'
}

@test "killed, it is gone at once, without libvirtd too" {
    up v
    before=$(leader)
    libvirtd_away
    timeout 5 "$ULV_BIN/uvctl" --root "$ROOT" kill -s KILL v
    wait_for 5 state v failed
    wait_for 5 test ! -e "/proc/$before/exe"
    libvirtd_back
    wait_for 10 sh -c "[ -z \"\$(nsenter -t $(cat "$BED/pid") -m virsh list --all --name)\" ]"
}

@test "two VMs boot the same kernel, each under its own uid; a disk is the VM's while it runs" {
    qemu-img create -q -f qcow2 "$BED/disk.qcow2" 8M
    vm v Cores=1 "[Block \"disk\"]
File=$BED/disk.qcow2
Format=qcow2
Writable=direct"
    uv apply -y
    up v
    up other
    state v running
    a=$(awk '/^Uid/ {print $2}' "/proc/$(leader v)/status") b=$(awk '/^Uid/ {print $2}' "/proc/$(leader other)/status")
    [ "$a" != "$b" ]
    says '^up: 1 cpus, vda'
    [ "$(stat -c %u "$BED/disk.qcow2")" = "$a" ]
    answers 'echo mark >/dev/vda; sync; head -c 4 /dev/vda; echo; echo written=$((1 + 0))' '^written=1'
    uv stop v
    wait_for 5 sh -c "[ \"\$(stat -c %u '$BED/disk.qcow2')\" = 0 ]"
    qemu-img convert -O raw "$BED/disk.qcow2" "$BED/disk.raw"
    [ "$(head -c 4 "$BED/disk.raw")" = mark ]
}

@test "a monitor killed -9 in the middle of a start leaves nothing, or a VM that it finds again" {
    uv stop --force other || true
    for delay in 0.02 0.1 0.2 0.35; do
        uv start --no-block other
        sleep $delay
        kill -9 $(pgrep -f "uv-monitor-kvm other") 2>/dev/null || true
        wait_for 15 sh -c "'$ULV_BIN/uvctl' --root '$ROOT' list -a -o json | jq -e '.[] | select(.Name == \"other\") | .State | test(\"running|failed|defined\")'"
        n=$(virsh list --all --name | grep -c -- -other || true)
        if state other running; then [ "$n" = 1 ]; uv stop --force other; else [ "$n" = 0 ]; fi
    done
    wait_for 5 test ! -e "$ROOT/run/ultravisor/vm/other"
}

@test "what can't be started says which line: no such kernel" {
    definition other "$(sed "s|^Kernel=.*|Kernel=$BED/nowhere|" "$ROOT/etc/ultravisor/partitions/other.partition")"
    uv apply -y
    run -1 uv start other
    echo "$output"
    [[ $output == *"Kernel=$BED/nowhere: No such file or directory"* ]]
    [ ! -e "$ROOT/run/ultravisor/vm/other" ]
}
