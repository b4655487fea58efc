# Networks over a bridge of the host's, and what a partition gets into its /etc and /run/credentials. The whole instance
# runs in a network namespace that the test makes: nothing of this machine's network is touched.
bats_require_minimum_version 1.5.0
load ../lib/uv

SECRET=correct-horse-battery-staple-8173
NEXT=another-horse-0042

setup_file() {
    NS=uvt$$; export NS
    ip netns add "$NS"
    in_ns ip link set lo up
    in_ns ip link add br0 type bridge
    in_ns ip addr add 10.77.0.1/24 dev br0
    in_ns ip link set br0 up
    ULV_UNDER="${ULV_UNDER:-} nsenter --net=/run/netns/$NS" instance_up "$PART"
    busybox_root "$ROOT/tree"
    local a; for a in ping ifconfig route readlink cmp date sync; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    ln -s /nowhere/at/all "$ROOT/tree/etc/resolv.conf"
    ln -s /nowhere/either "$ROOT/tree/etc/localtime"
    mkdir "$ROOT/secrets"; chmod 700 "$ROOT/secrets"
    printf '%s' "$SECRET" >"$ROOT/secrets/plain"; chmod 600 "$ROOT/secrets/plain"
    lan one 10.77.0.20
    lan two 10.77.0.21
    uv apply -y
    uv start one two
}
teardown_file() {
    local status=0
    instance_down || status=1
    [ -z "$(in_ns ip -o link | grep -E 'uv[0-9a-f]+n' || true)" ] || { echo "interfaces left" >&2; status=1; }
    ip netns del "$NS"
    return $status
}
in_ns() { nsenter --net="/run/netns/$NS" "$@"; }
lan() { # lan NAME ADDRESS
    sleeper "$1" "TimeZone=UTC" "[Network \"lan\"]
Bridge=br0
Address=$2/24
Address=fd77::${2##*.}/64
Gateway=10.77.0.1
DNS=10.77.0.1
DNS=fd77::1
Search=lab.example example"
}
with_secret() { # with_secret NAME "Source=PATH" [User]
    sleeper "$1" "${3:+User=$3}" "[Credential \"db.password\"]
$2"
}
# pings NAME ADDRESS: from its network namespace, by any name of a program
pings() { nsenter --net="/proc/$(field "$1" Leader)/ns/net" busybox ping -c 1 -W 2 "$2"; }
ports() { in_ns ip -o link show master br0 | wc -l; }

@test "uvctl check: a network whose end on the host was taken from its bridge, set down, or deleted, or whose link, address or route was changed inside, is told" {
    local checks="ip netns exec $NS $ULV_BIN/uvctl --root $ROOT check one two" end
    sleeper drifts "" "[Network \"lan\"]
Bridge=br0
Address=10.77.0.40/24
Address=fd77::40/64
Gateway=10.77.0.1"
    uv apply -y; uv start drifts
    end=$(printf 'uv%xn0' $(($(awk '{ print $2 }' "/proc/$(field drifts Leader)/uid_map") >> 16)))
    $checks drifts
    drift() { # drift COMMAND WORDS
        in_ns $1
        run $checks drifts
        echo "$output"
        [ "$status" = 9 ] && [[ "$output" == *"drifts  network"*"[Network \"lan\"], $end, $2"* ]]
    }
    drift "ip link set $end nomaster" "is in no bridge, not in br0"
    in_ns $(sed -n 's/^ *try: //p' <<<"$output")
    $checks drifts
    drift "ip link set $end down" "is down"
    in_ns $(sed -n 's/^ *try: //p' <<<"$output")
    $checks drifts
    # A link, an address and a route of its own network namespace.
    local in="nsenter --net=/proc/$(field drifts Leader)/ns/net"
    inside() { run $checks --repair drifts; echo "$output"; [ "$status" = 9 ] && [ "${lines[0]}" = "drifts  network  its eth0 $1" ] && [[ "$output" == *"left: not by --repair"*"try: uvctl restart drifts"* ]]; }
    $in ip addr del fd77::40/64 dev eth0;   inside "hasn't the address fd77::40/64"
    $in ip addr add fd77::40/64 dev eth0 nodad
    $in ip addr add 10.77.0.50/24 dev eth0; $checks drifts                  # its own root may add some
    $in ip route replace default via 10.77.0.9 metric 100; inside "has no route by 10.77.0.1"
    $in ip route replace default via 10.77.0.1 metric 100
    $checks drifts
    $in ip link set eth0 down; $in ip link set eth0 name other; inside "isn't there"
    uv -q restart drifts; $checks drifts
    end=$(printf 'uv%xn0' $(($(awk '{ print $2 }' "/proc/$(field drifts Leader)/uid_map") >> 16)))
    drift "ip link del $end" "is gone"
    uv stop drifts
    $checks
    rm "$ROOT/etc/ultravisor/partitions/drifts.partition"; uv remove -q drifts
}

# bats test_tags=kernel
@test "two partitions in one bridge reach each other, the host and nobody by accident: IPv4, IPv6, name, route" {
    pings one 10.77.0.21
    pings two 10.77.0.20
    pings one 10.77.0.1
    pings one fd77::21
    [ "$(uv exec one -- ls /sys/class/net | xargs)" = "eth0 lo" ]
    run uv exec one -- ip route
    [[ "$output" == *"default via 10.77.0.1 dev eth0"* ]]
    [ "$(ports)" = 2 ]
}

@test "status tells the networks of a partition: bridge, addresses, gateway; JSON has them as lists" {
    run uv status one
    [[ "$output" == *"Network: lan  bridge br0"*"10.77.0.20/24, fd77::20/64  gateway 10.77.0.1"* ]]
    run uv status -o json one
    jq -e '.[0].Networks | length == 1 and .[0].Name == "lan" and .[0].Bridge == "br0"' <<<"$output"
    [ "$(jq -c '.[0].Networks[0] | [.Addresses, .Gateways]' <<<"$output")" = '[["10.77.0.20/24","fd77::20/64"],["10.77.0.1"]]' ]
}

@test "MAC addresses are each partition's own, and the host's ends don't change the bridge's" {
    a=$(uv exec one -- cat /sys/class/net/eth0/address); b=$(uv exec two -- cat /sys/class/net/eth0/address)
    [[ "$a" == 02:* && "$b" == 02:* && "$a" != "$b" ]]
    [ -z "$(in_ns ip -o link show master br0 | grep -v 'link/ether fe:')" ]
}

# bats test_tags=kernel
@test "resolv.conf, localtime and machine-id are mounted over what the root has, links too, and can't be written" {
    [ "$(uv exec one -- cat /etc/resolv.conf)" = "nameserver 10.77.0.1
nameserver fd77::1
search lab.example example" ]
    uv exec one -- sh -c 'head -c 4 /etc/localtime' | grep -q TZif
    id=$(uv exec one -- cat /etc/machine-id)
    [[ "$id" =~ ^[0-9a-f]{32}$ ]]
    [ "$id" != "$(uv exec two -- cat /etc/machine-id)" ]
    run uv exec one -- sh -c 'echo x >/etc/machine-id'; [ "$status" != 0 ]
    run uv exec one -- sh -c 'echo x >/etc/resolv.conf'; [ "$status" != 0 ]
    [ "$(readlink "$ROOT/tree/etc/resolv.conf")" = /nowhere/at/all ]
    [ ! -s "$ROOT/tree/etc/machine-id" ]
}

@test "the network is kept over kill -9 of its monitor, and taken away with the partition, which keeps its machine-id" {
    id=$(uv exec one -- cat /etc/machine-id)
    kill -9 $(pids_of uv-monitor-lxc)
    wait_for 10 pings one 10.77.0.21
    wait_for 10 uv exec two -- true
    uv stop two
    [ "$(ports)" = 1 ]
    [ "$(in_ns ip -o link | grep -cE 'uv[0-9a-f]+n')" = 1 ]
    uv stop one && uv start one
    [ "$(uv exec one -- cat /etc/machine-id)" = "$id" ]
    [ "$(ports)" = 1 ]
}

@test "Name= and MAC= are what it gets; two networks are two interfaces" {
    sleeper three "" '[Network "lan"]
Bridge=br0
Name=front
MAC=52:54:00:0a:00:30
[Network "lan2"]
Bridge=br0
Address=10.77.1.5/24'
    uv apply -y; uv start three
    [ "$(uv exec three -- cat /sys/class/net/front/address)" = 52:54:00:0a:00:30 ]
    [ "$(uv exec three -- ls /sys/class/net | xargs)" = "eth1 front lo" ]
    uv stop three
}

@test "a bridge that isn't there, or isn't one, is refused in three lines; nothing is left" {
    before=$(in_ns ip -o link | wc -l)
    sleeper bad "" '[Network "lan"]
Bridge=nosuch'
    uv apply -y
    run uv start bad
    [ "$status" = 1 ]; [[ "$output" == *'Bridge=nosuch of [Network "lan"] is not there'* ]]; [[ "$output" == *"ip link add nosuch type bridge"* || "$output" == *"try: "* ]]
    sed -i 's/nosuch/lo/' "$ROOT/etc/ultravisor/partitions/bad.partition"; uv apply -y
    run uv start bad
    [ "$status" = 1 ]; [[ "$output" == *'Bridge=lo of [Network "lan"] is no bridge'* ]]
    [ "$(in_ns ip -o link | wc -l)" = "$before" ]
}

@test "over an image, too: what its /etc lacks is made in the writable layer, and the image stays as it is" {
    uv image build busybox
    lan image 10.77.0.30
    sed -i "s|^Root=.*|Image=busybox|" "$ROOT/etc/ultravisor/partitions/image.partition"
    uv apply -y; uv start image
    uv exec image -- cat /etc/resolv.conf | grep -qx 'search lab.example example'
    [[ "$(uv exec image -- cat /etc/machine-id)" =~ ^[0-9a-f]{32}$ ]]
    uv exec image -- head -c 4 /etc/localtime | grep -q TZif
    pings image 10.77.0.1
    uv stop image; uv start image; uv stop image
}

# bats test_tags=kernel
@test "a credential is a file of User=, mode 0400, on a read-only memory file system that CREDENTIALS_DIRECTORY names" {
    with_secret cred "Source=$ROOT/secrets/plain" 33
    uv apply -y; uv start cred
    [ "$(uv exec cred --user 33 -- cat /run/credentials/partition/db.password)" = "$SECRET" ]
    [ "$(uv exec cred --user 33 -- stat -c '%a %u' /run/credentials/partition/db.password)" = "400 33" ]
    run uv exec cred --user 33 -- sh -c 'echo x >/run/credentials/partition/x'; [ "$status" != 0 ]
    run uv exec cred --user 44 -- cat /run/credentials/partition/db.password; [ "$status" != 0 ]
    run uv exec cred -- cat /proc/mounts; [[ "$output" =~ /run/credentials/partition\ (tmpfs|ramfs)\ ro, ]]
    [[ "$output" == *ramfs* || "$output" == *noswap* ]]
    tr '\0' '\n' <"/proc/$(field cred Leader)/environ" | grep -qx CREDENTIALS_DIRECTORY=/run/credentials/partition
}

# bats test_tags=kernel
@test "rotation replaces the file while it runs, by a monitor that may not mount any more, and by its successor" {
    printf '%s' "$NEXT" >"$ROOT/secrets/plain"
    uv credential rotate cred db.password
    [ "$(uv exec cred --user 33 -- cat /run/credentials/partition/db.password)" = "$NEXT" ]
    [ "$(uv exec cred --user 33 -- stat -c '%a %u' /run/credentials/partition/db.password)" = "400 33" ]
    monitor=$(awk '/^PPid/ {print $2}' "/proc/$(pids_of uv-port | head -n 1)/status")
    [ $((0x$(awk '/^CapEff/ {print $2}' "/proc/$monitor/status") & 0x201000)) = 0 ]
    kill -9 $(pids_of uv-monitor-lxc)
    printf '%s' "$SECRET" >"$ROOT/secrets/plain"
    wait_for 10 uv credential rotate cred
    [ "$(uv exec cred --user 33 -- cat /run/credentials/partition/db.password)" = "$SECRET" ]
    [ "$(uv exec cred --user 33 -- ls -a /run/credentials/partition | xargs)" = ". .. db.password" ]
}

@test "User= may be a name of the image's: the credential is its number's, also when rotated; no file that lies gets past that" {
    with_secret named "Source=$ROOT/secrets/plain" www
    uv apply -y; uv start named
    [ "$(uv exec named --user 33 -- stat -c '%a %u' /run/credentials/partition/db.password)" = "400 33" ]
    uv credential rotate named
    [ "$(uv exec named --user 33 -- stat -c '%a %u' /run/credentials/partition/db.password)" = "400 33" ]
    [ "$(uv exec named --user 33 -- stat -c '%a %u' /run/credentials/partition)" = "700 33" ]
    uv stop --force named
    local passwd lie
    passwd=$(sed -n 's/^Root=//p' "$ROOT/etc/ultravisor/partitions/named.partition")/etc/passwd
    mv "$passwd" "$passwd.good"
    echo 'www:x:33:33::/:/bin/sh' >"$ROOT/secrets/passwd"
    for lie in 'www:x:65536:0::/:/bin/sh' 'www:x:-1:0::/:/bin/sh' 'www:x:+33:0::/:/bin/sh' www ''; do
        echo "$lie" >"$passwd"
        run uv start named; [ "$status" = 1 ]; [[ "$output" == *"User=www isn't in its /etc/passwd"* ]] || { echo "$lie: $output"; false; }
    done
    rm "$passwd"; ln -s "$ROOT/secrets/passwd" "$passwd"    # the host's, by a link
    run uv start named; [ "$status" = 1 ]; [[ "$output" == *"User=www isn't in its /etc/passwd"* ]]
    rm "$passwd"; mkfifo "$passwd"
    run uv start named; [ "$status" = 1 ]; [[ "$output" == *"User=www isn't in its /etc/passwd"* ]]
    rm "$passwd"; mv "$passwd.good" "$passwd"
}

@test "what can't be rotated is told in three lines, and the old content stays" {
    chmod 644 "$ROOT/secrets/plain"
    run uv credential rotate cred
    [ "$status" = 1 ]; [[ "$output" == *"isn't root's alone"* ]]
    chmod 600 "$ROOT/secrets/plain"
    [ "$(uv exec cred --user 33 -- cat /run/credentials/partition/db.password)" = "$SECRET" ]
    run uv credential rotate cred nosuch
    [ "$status" = 4 ]; [[ "$output" == *"no such [Credential]"* ]]
    run uv credential rotate one
    [ "$status" = 1 ]; [[ "$output" == *"started without credentials"* ]]
}

@test "an encrypted credential is decrypted by systemd-creds with the instance's own key; another name is refused" {
    [ -x /usr/bin/systemd-creds ] || skip "systemd-creds is not installed"
    uv credential encrypt db.password "$ROOT/secrets/plain" "$ROOT/secrets/db.cred"
    not_there <"$ROOT/secrets/db.cred"
    with_secret sealed "Encrypted=$ROOT/secrets/db.cred"
    uv apply -y; uv start sealed
    [ "$(uv exec sealed -- cat /run/credentials/partition/db.password)" = "$SECRET" ]
    printf '%s' "$NEXT" >"$ROOT/secrets/next"; chmod 600 "$ROOT/secrets/next"
    uv credential encrypt db.password "$ROOT/secrets/next" "$ROOT/secrets/db.cred"
    uv credential rotate sealed
    [ "$(uv exec sealed -- cat /run/credentials/partition/db.password)" = "$NEXT" ]
    uv credential encrypt other "$ROOT/secrets/next" "$ROOT/secrets/db.cred"
    run uv credential rotate sealed
    [ "$status" = 1 ]; [[ "$output" == *"can't be decrypted on this host"*"'other'"* ]]
    uv stop sealed
}

@test "the secret is in no ledger, history, view, log, argument, environment or core of the monitor" {
    [ "$(uv exec cred --user 33 -- cat /run/credentials/partition/db.password)" = "$SECRET" ]
    uv stop one two 2>/dev/null || true
    find "$ROOT/var" "$ROOT/log" "$ROOT/etc" -type f -exec cat {} + | not_there
    uv history -o wide | not_there
    uv show cred | not_there
    uv backup "$ROOT/backup"; not_there <"$ROOT/backup"
    local p
    for p in /proc/[0-9]*; do
        [ "${p#/proc/}" != $$ ] || continue
        cat "$p/cmdline" 2>/dev/null | not_there
        case $(readlink "$p/exe" 2>/dev/null) in */uv-*|*/uvd) not_there <"$p/environ" ;; esac
    done
    for p in $(pids_of uv-monitor-lxc) $(pids_of uvd) $(pids_of uv-command); do
        [ "$(memory_of "$p" | wc -c)" -gt 100000 ]
        memory_of "$p" | not_there
    done
    # The control: where the secret is, this way of looking finds it.
    sh -c 'x=$(cat "$1"); sleep 5; : "$x"' sh "$ROOT/secrets/plain" & p=$!
    wait_for 3 eval "memory_of $p | grep -qa $SECRET"
    kill "$p"
}
not_there() { ! grep -qaE "$SECRET|$NEXT"; }
# All that a core would have, and more: every mapping that can be read.
memory_of() {
    local range
    while read -r range; do
        dd if="/proc/$1/mem" bs=4096 skip=$((0x${range%-*} / 4096)) count=$(((0x${range#*-} - 0x${range%-*}) / 4096)) 2>/dev/null
    done < <(awk '$2 ~ /^rw/ && $6 !~ /^\[v/ {print $1}' "/proc/$1/maps")
}
