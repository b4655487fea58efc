#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# Runs a Bats file inside the systemd bed: inside.sh FILE [TAG]. root/, if the payload has it, is what `make install`
# made with DESTDIR; it is put in place, and nothing of it runs yet.
set -e
export HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
if [ -d root ]; then
        cp -a root/. /
        systemd/tell.sh installed >tell.log 2>&1 || { cat tell.log; exit 1; }
fi
exec bats --tap ${2:+--filter-tags "$2"} "$1"
