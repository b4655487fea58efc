# uvctl -H: the same command line, there, by ssh: a real server behind ssh's ProxyCommand, with keys and a home of its own.
bats_require_minimum_version 1.5.0
load ../lib/uv

# server PORT HOME
server() {
    wait_for 5 eval '[ "$(readlink /proc/$NET/ns/net)" != "$(readlink /proc/self/ns/net)" ]'
    nsenter -t "$NET" -n unshare -m sh -c 'ip link set lo up && mount --bind "$1" "$2" && exec dropbear -F -E -s -p 127.0.0.1:$3 -P "$1.pid" -r "$1/../key"' \
        sh "$D/$2" "$(getent passwd root | cut -d: -f6)" "$1" </dev/null >>"$D/log" 2>&1 3>&- &
}
server_made() {
    D=$BATS_FILE_TMPDIR; export D
    mkdir -p "$D/bin" "$D/home/.ssh" "$D/bare/.ssh"
    ssh-keygen -q -t ed25519 -N '' -f "$D/id"; dropbearkey -t ed25519 -f "$D/key" >/dev/null 2>&1
    for home in home bare; do cp "$D/id.pub" "$D/$home/.ssh/authorized_keys"; chmod 700 "$D/$home" "$D/$home/.ssh"; done
    echo "export ULTRAVISOR_ROOT='$ROOT' PATH='$ULV_BIN':\$PATH" >"$D/home/.bashrc"
    # In a network namespace of its own; its home is bound over root's, in a mount namespace: nothing of the machine's is touched.
    unshare -n sleep 1000 </dev/null >/dev/null 2>&1 3>&- & NET=$!
    server 22 home; HOME_SERVER=$!
    server 23 bare; export NET HOME_SERVER BARE_SERVER=$!
    cat >"$D/config" <<EOF
Host *
  User root
  IdentityFile $D/id
  IdentitiesOnly yes
  UserKnownHostsFile /dev/null
  StrictHostKeyChecking no
Host there
  ProxyCommand nsenter -t $NET -n busybox nc 127.0.0.1 22
Host bare
  ProxyCommand nsenter -t $NET -n busybox nc 127.0.0.1 23
Host away
  ProxyCommand false
EOF
    printf '#!/bin/sh\nexec /usr/bin/ssh -F "%s" "$@"\n' "$D/config" >"$D/bin/ssh"
    chmod 755 "$D/bin/ssh"
    wait_for 5 eval 'nsenter -t $NET -n busybox nc -w 1 127.0.0.1 23 </dev/null | grep -q SSH'
}
setup_file() {
    for program in dropbear dropbearkey ssh ssh-keygen; do command -v $program >/dev/null || { export LACKS=$program; return 0; }; done
    instance_up "$PART"; export LAUNCH
    server_made
    busybox_root "$ROOT/tree"; sleeper box; sim web Share=0.1 64M
    uv apply -y -q; uv start -q box
}
teardown_file() { [ -n "${LACKS:-}" ] || { kill "$HOME_SERVER" "$BARE_SERVER" "$NET"; instance_down; }; }
setup() { [ -z "${LACKS:-}" ] || skip "no $LACKS on this machine"; PATH=$D/bin:$PATH; }
there() { "$ULV_BIN/uvctl" -H there "$@"; }

@test "what is listed there is what is listed here; --host and a user at it, too" {
    [ "$(there list -o name)" = "$(uv list -o name)" ]
    [ "$("$ULV_BIN/uvctl" list --host=root@there -o name)" = "$(uv list -o name)" ]
}

@test "every word arrives as it is, whatever a shell would make of it" {
    reason=$'it\'s "$HOME" `id` \\ * ; | # \n~ end '
    there start web --reason "$reason"
    [ "$(uv history web -l 1 -o json | jq -r '.[0].Reason')x" = "${reason}x" ]
    [ "$(there exec box -- echo '$0' "a  b" '' "'" -H x)" = "\$0 a  b  ' -H x" ]
}

@test "the exit status is the one there: of uvctl, and of a command inside" {
    run there start nosuch; [ "$status" = 4 ]; [[ "$output" == *"no partition nosuch"* ]]
    run there exec box -- sh -c 'exit 3'; [ "$status" = 3 ]; [ "$output" = "" ]
    run there exec box -- sh -c 'exit 255'; [ "$status" = 255 ]
    run -127 there exec box -- nosuch
}

@test "standard input, output and error are carried through; and a terminal, to who wants one" {
    head -c 100000 /dev/urandom >"$D/bytes"
    there exec box -- cat <"$D/bytes" | cmp - "$D/bytes"
    [ "$(there exec box -- sh -c 'echo out; echo err >&2' 2>/dev/null)" = out ]
    run script -qec "'$ULV_BIN/uvctl' -H there exec box -- sh -c 'test -t 0 && test -t 1 && echo typed'" /dev/null </dev/null
    [[ "$output" == *typed* ]]; [[ "$output" != *"closed"* ]]
    run there exec box -- sh -c 'test -t 0'; [ "$status" = 1 ]
}

@test "no ssh here, no way there, no uvctl there: three lines, exit 10" {
    run env PATH=/nonexistent "$ULV_BIN/uvctl" -H there list
    [ "$status" = 10 ]; [[ "${lines[0]}" == *"this machine has no ssh" ]]; [ "${lines[2]}" = "try: apt install openssh-client" ]
    run "$ULV_BIN/uvctl" -H away list
    [ "$status" = 10 ]; [[ "$output" == *"cannot reach away"*"try: ssh away uvctl version" ]]
    run "$ULV_BIN/uvctl" -H bare list
    [ "$status" = 10 ]; [ "${#lines[@]}" = 3 ]; [[ "${lines[0]}" == "there is no uvctl on this host ("* ]]
}

@test "a host that ssh would take for an option, two hosts, and none: refused here" {
    for words in "-H -oProxyCommand=touch$IFS$D/pwned list" "-H there -H there list" "--host= list" "-qH there list"; do
        run "$ULV_BIN/uvctl" $words; [ "$status" = 2 ] || { echo "$words"; false; }
    done
    [ ! -e "$D/pwned" ]
}
