#!/bin/sh
# SPDX-License-Identifier: LGPL-2.1-or-later
# What make install and uninstall tell a running system (a Debian package's scripts do the same by debhelper):
# tell.sh installed | removing | removed
set -e
case $1 in
installed)
        ldconfig
        systemd-sysusers ultravisor.conf
        systemd-tmpfiles --create ultravisor.conf
        journalctl --update-catalog
        systemctl daemon-reload
        ! systemctl -q is-active dbus.service || systemctl reload dbus.service
        # A kernel may have AppArmor, and its system not the tools.
        [ ! -e /sys/kernel/security/apparmor/profiles ] || ! command -v apparmor_parser >/dev/null || apparmor_parser -r /etc/apparmor.d/ultravisor-container
        # After an upgrade the roles run the new code at once; partitions and their monitors run on (`uvctl upgrade`).
        systemctl try-restart uvd.service uv-operations.service uv-command.service
        ;;
removing)
        systemctl -q disable --now uv-metrics.socket ultravisor.target
        systemctl -q stop uv-metrics.service
        ;;
removed)
        ldconfig
        systemctl daemon-reload
        ;;
esac
