#!/bin/sh
# Runs a Bats file inside the full VM.
export ULV_BIN="$PWD/build/bin" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
[ -x /bin/busybox ] || cp busybox /bin/busybox
exec bats --tap "$1"
