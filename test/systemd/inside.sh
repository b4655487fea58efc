#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs a Bats file inside the systemd bed, on an installed Ultravisor: inside.sh FILE [TAG]. root/ is what `make install`
# made with DESTDIR; nothing runs yet: a test file that wants it says `systemctl start ultravisor.target`.
set -e
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
cp -a root/. /
systemd/tell.sh installed >tell.log 2>&1 || { cat tell.log; exit 1; }
exec bats --tap ${2:+--filter-tags "$2"} "$1"
