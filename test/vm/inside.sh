#!/bin/sh
# Runs a Bats file inside the full VM, in a scope of its own with every controller handed down.
export ULV_BIN="$PWD/build/bin" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -x /bin/busybox ] || cp busybox /bin/busybox
exec systemd-run --quiet --scope -p Delegate=yes bats --tap "$1"
