#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/vm.sh BUILD: a round trip between a container and an emulated VM, beside one between two containers, by the same
# program (uvguest perf and echo). Emulation is several times slower than KVM: the figure is for what it is worth.
set -euo pipefail
cd "$(dirname "$0")/.."
export ULV_BIN=$PWD/$1/bin BATS_TEST_DIRNAME=$PWD/test/bats
skip() { echo "Round trip container to VM: not measured: $1"; exit 0; }
. test/lib/uv.bash
. test/lib/vm.bash
BED=$(mktemp -d /tmp/uv-bench-XXXXXX); chmod 755 "$BED"; LAUNCH=
finish() { uv stop --force --all -q >/dev/null 2>&1 || true; instance_down >&2 || true; if [ -e "$BED/pid" ]; then vm_bed_down >&2; else rm -rf "$BED"; fi; }
instance_make "$PART"
trap finish EXIT
mkdir -p "$BED/root/bin"; cp "$ULV_BIN/uvguest" "$BED/root/bin/"
# shellcheck disable=SC2086
vm_bed $VFIO
busybox_root "$ROOT/tree"; cp "$ULV_BIN/uvguest" "$ROOT/tree/bin/"
sleeper web "" "$(printf '[Channel "%s"]\nPeer=%s\nKind=message\nSize=64K\n' to-vm v to-db db)"
sleeper db "" "$(printf '[Channel "to-db"]\nPeer=web\n')"
vm v Share=0.5 "" "" "$(printf '[Channel "to-vm"]\nPeer=web\n')"
instance_start
uv apply -y -q
up v
uv start -q web db
guest v '(uvguest serve &)' >/dev/null
guest v '(uvguest echo to-vm >/dev/null 2>&1 &)' >/dev/null
uv exec db -- sh -c 'uvguest echo to-db >/dev/null 2>&1 </dev/null &'
echo "Round trip of 16 bytes between partitions, an end that sleeps is woken (us, of 5 rounds: median, least, most)"
for c in to-db to-vm; do
    for _ in 1 2 3 4 5; do uv exec web -- uvguest perf $c 2000; done | sed 's/.*: \(.*\) us each/\1/' | sort -n | paste -sd' ' |
        { read -r a _ m _ z; printf '  %-44s %10s  (%s .. %s)\n' "$([ $c = to-vm ] && echo "container to VM, TCG (emulated, not KVM)" || echo "container to container")" "$m" "$a" "$z"; }
done
echo
