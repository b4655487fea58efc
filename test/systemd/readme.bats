# README's section "Installation", line by line, in a clean tree. What builds, the stage has typed on the host, which has a
# compiler (host-typed says what); the rest is typed here.
load ../lib/systemd
export PATH=/usr/local/sbin:/usr/local/bin:$PATH

typed() { awk '/^## / { on = $0 == "## Installation" } on && /^    / { sub(/^    (sudo )?/, ""); sub(/ +#.*/, ""); print }' tree/README.md; }
# type_until LAST: everything up to that line, in README's order; the next call goes on behind it.
type_until() {
    local line
    while read -r line; do
        sed -i 1d "$BATS_FILE_TMPDIR/left"
        case $line in
        "make"|"make deb") grep -qxF "$line" host-typed || { echo "nobody has typed: $line"; return 1; } ;;
        *) echo "# $line" >&3; (cd tree && eval "$line") </dev/null || { echo "failed: $line"; return 1; } ;;
        esac
        [ "$line" != "$1" ] || return 0
    done <<<"$(cat "$BATS_FILE_TMPDIR/left")"
    echo "README.md doesn't say: $1"; return 1
}
ours() { find /usr /etc -name '*ultravisor*' -o -name 'uvd*' -o -name 'uv-*' -o -name uvctl | grep -v '^/etc/\(ultravisor\|systemd/system/multi-user\)' || true; }

setup_file() {
    typed >"$BATS_FILE_TMPDIR/left"
    # The bed's own file system, an overlay, can't be shown under other ids; an installed system's can.
    mkdir /run/lib; cp -a /var/lib/. /run/lib/; mount --bind /run/lib /var/lib
    # Nobody is there to be asked.
    echo 'APT::Get::Assume-Yes "true";' >/etc/apt/apt.conf.d/99yes
}

@test "README's package: installed as it says, and the roles are up" {
    type_until "uvctl list"
    for u in $ROLES; do is "$(systemctl is-active $u)" active; done
}

@test "README's purge leaves nothing of it" {
    type_until "apt purge ultravisor"
    is "$(ours | xargs)" ""
    not test -e /etc/ultravisor
    not test -e /var/lib/ultravisor
}

@test "README's make install: as it says, and the roles are up and come up at boot" {
    type_until "uvctl list"
    for u in $ROLES; do is "$(systemctl is-active $u)" active; done
    is "$(systemctl is-enabled ultravisor.target)" enabled
    is "$(readlink "/proc/$(main_pid uvd)/exe")" /usr/local/lib/ultravisor/uvd
}

@test "README's make uninstall leaves definitions, ledger and accounts, and nothing else; README says no more" {
    type_until "make uninstall"
    is "$(ours | xargs)" ""
    is "$(pgrep -x 'uvd|uv-.*' | xargs)" ""
    [ -e /var/lib/ultravisor/uvd/ledger.db ]
    id ultravisor
    is "$(cat "$BATS_FILE_TMPDIR/left")" ""
}
