#!/usr/bin/env bash
# `make bench`: figures beside peers and limits, as ratios in one run. Nothing here is asserted.
set -eu
cd "$(dirname "$0")/.."
B=$1; export ULV_BIN="$PWD/$B/bin"
missing=; for p in etcd-server:etcd bubblewrap:bwrap crun:crun; do command -v "${p#*:}" >/dev/null || missing="$missing ${p%%:*}"; done
# shellcheck disable=SC2086
[ -z "$missing" ] || launch/packages.sh $missing || echo "peers that can't be installed are left out:$missing"
model=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo | head -n 1)
echo "$(nproc) CPUs ($model), $(awk '/^MemTotal/ { printf "%.0f GiB", $2 / 1048576 }' /proc/meminfo), Linux $(uname -r), /tmp on $(stat -f -c %T /tmp), load $(cut -d' ' -f1 /proc/loadavg), $(date -u +%F)"; echo
"$B/bench/transactions"
"$B/bench/calls"
"$B/bench/starts" sim 1000
"$B/bench/starts" lxc "${ULV_BENCH_LXC:-1000}"
bench/systemd.sh "$B"
"$B/bench/channel"
bench/vm.sh "$B"
