#!/bin/sh
# Runs a Bats file inside the full VM, or those of its tests that have a tag: inside.sh FILE [TAG]
export ULV_BIN="$PWD/build/bin" HOME=/root PATH=/usr/sbin:/usr/bin:/sbin:/bin
# The host's Bats files start their instances as an administrator without our units would: in a scope with all controllers.
export ULV_UNDER="systemd-run --quiet --scope -p Delegate=yes"
[ -x /bin/busybox ] || cp busybox /bin/busybox
exec bats --tap ${2:+--filter-tags "$2"} "$1"
