#!/usr/bin/env bash
# SPDX-License-Identifier: LGPL-2.1-or-later
# bench/systemd.sh BUILD: build/bench/systemd in the systemd bed, on an installed Ultravisor. Inside it is its own payload.
set -eu
if [ "$1" = inside ]; then
    cp -a root/. /
    systemd/tell.sh installed >tell.log 2>&1 || { cat tell.log; exit 1; }
    . ./systemd.bash
    sed -e "s|^ExecStart=.*|ExecStart=$PWD/bare|; s|ultravisor/partition/%i|bench-bare|; s|%i|bench|" -e '/^ExecStopPost=/d; /^Wants=/d' \
        /usr/lib/systemd/system/uv-partition@.service >/run/systemd/system/bench-bare.service
    container p0
    useradd -G ultravisor-admin alice
    systemctl daemon-reload
    systemctl start ultravisor.target
    wait_for 10 uvctl apply -y
    ./bench "$(id -u alice)" 21
    uvctl -q stop --all --force; systemctl stop ultravisor.target
    exit 0
fi
cd "$(dirname "$0")/.."
payload=$1/systemd-payload/bench
rm -rf "$payload"; mkdir -p "$payload"
make -s B="$1" install DESTDIR="$payload/root" PREFIX=/usr
cp "$1/bench/systemd" "$payload/bench"; cp "$1/bench/bare" bench/systemd.sh test/lib/systemd.bash "$payload/"; cp -r systemd "$payload/"
status=0; test/beds/nspawn.sh make >&2 && test/beds/nspawn.sh run -t 120 "$payload" -- bash systemd.sh inside || status=$?
[ $status != 77 ] || echo "Container start through systemd: not measured: no bed (the line above says what is missing)"
exit 0
