# org.ultravisor1 on the system bus: who may, what is seen, and what a stranger can't do.
load ../lib/systemd
load ../lib/manual
MANUAL=/usr/share/man/man5/org.ultravisor1.5
T=/run/dbus-test

# alice: ultravisor-admin; victor: ultravisor-view; mallory, dave: nobody; carol: a rule of her own, about one partition;
# slow: may, but polkit takes two seconds to say so; typist: with a password.
setup_file() {
    mkdir -p $T; chmod 755 $T; install -m 755 bus $T/bus
    useradd -G ultravisor-admin alice; useradd -G ultravisor-view victor
    for u in mallory dave carol slow typist; do useradd $u; done
    cat >/etc/polkit-1/rules.d/10-test.rules <<-'RULES'
	polkit.addRule(function (action, subject) {
	        if (action.id.indexOf("org.ultravisor1.") != 0)
	                return polkit.Result.NOT_HANDLED;
	        if (subject.user == "carol" && action.id == "org.ultravisor1.manage-partitions" && action.lookup("partition") == "web")
	                return polkit.Result.YES;
	        if (subject.user == "slow") {
	                polkit.spawn(["/bin/sleep", "2"]);
	                return polkit.Result.YES;
	        }
	        if (subject.user == "typist")
	                return polkit.Result.AUTH_ADMIN;
	        return polkit.Result.NOT_HANDLED;
	});
	RULES
    sim web Cores=1 256M; sim db Share=0.1 64M
    systemctl start ultravisor.target
    wait_for 5 busctl status org.ultravisor1
    $T/bus members >$T/members
}
teardown_file() { systemctl stop ultravisor.target; }

as() { local u=$1; shift; runuser -u "$u" -- "$@"; }
# What is denied of all members, to USER.
denied() { as "$1" $T/bus each $T/members | awk '$2 == "org.ultravisor1.Error.Denied" { print $1 }' | sort; }
outcomes() { journalctl --sync; journalctl -q -o json "$@" | jq -r '[.ULTRAVISOR_UID, .ULTRAVISOR_VERB, .ULTRAVISOR_OBJECT, .ULTRAVISOR_OUTCOME] | join(" ")'; }
rss() { awk '/^VmRSS/ { print $2 }' "/proc/$(main_pid uv-command)/status"; }

@test "introspection on the bus is org.ultravisor1(5), word by word" {
    manual_members | sort >$T/manual
    [ "$(wc -l <$T/manual)" -gt 40 ]
    diff $T/manual <(sort $T/members)
}

@test "the door asks an action of the policy file, and each action is asked for" {
    is "$(manual_actions | cut -d' ' -f2 | sort -u | xargs)" "$(sed -nE 's/.*<action id="([^"]+)".*/\1/p' /usr/share/polkit-1/actions/org.ultravisor1.policy | sort | xargs)"
}

@test "root, ultravisor-admin: no member is denied" {
    is "$(denied root)" ""
    is "$(denied alice)" ""
}

@test "ultravisor-view: what looks isn't denied, all else is" {
    is "$(denied victor | xargs)" "$(manual_actions | awk '$2 != "org.ultravisor1.view" { print $1 }' | sort | xargs)"
}

@test "nobody: every member is denied, and so are introspection and the object manager" {
    is "$(denied mallory | xargs)" "$(manual_actions | cut -d' ' -f1 | sort | xargs)"
    for m in org.freedesktop.DBus.Introspectable.Introspect org.freedesktop.DBus.ObjectManager.GetManagedObjects; do
        not as mallory busctl call org.ultravisor1 /org/ultravisor1 "${m%.*}" "${m##*.}"
        as victor busctl call org.ultravisor1 /org/ultravisor1 "${m%.*}" "${m##*.}" >/dev/null
    done
    as mallory busctl call org.ultravisor1 /org/ultravisor1 org.freedesktop.DBus.Peer Ping
}

@test "a denial is three lines and exit status 5, and is in the journal with who, what and of which" {
    run as dave uvctl stop web
    is "$status" 5
    [[ "$output" == "uid $(id -u dave) may not start, stop or signal web"*polkit*try:* ]]
    outcomes ULTRAVISOR_OUTCOME=denied | grep -x "$(id -u dave) Stop web denied"
    # Signals that may not be had don't come: nobody shall wait for them.
    run as dave timeout 5 uvctl events --wait=3s
    is "$status" 5
    # Of one person ten lines a minute, however often.
    for i in $(seq 15); do not as dave uvctl list 2>/dev/null; done
    is "$(outcomes "ULTRAVISOR_UID=$(id -u dave)" | wc -l)" 10
}

@test "a change is in the journal twice: allowed, and how it ended" {
    as alice uvctl stop web
    outcomes "ULTRAVISOR_UID=$(id -u alice)" ULTRAVISOR_OBJECT=web >$T/got
    grep -x "$(id -u alice) Stop web allowed" $T/got
    grep -x "$(id -u alice) Stop web done" $T/got
}

@test "a rule about one partition allows that one, and neither another, nor both" {
    as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Stop asuts 1 web 0 0 ""
    not as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Stop asuts 1 db 0 0 ""
    not as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Stop asuts 2 web db 0 0 ""
    not as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Stop asuts 0 0 0 ""
}

@test "a rule about one partition lets that one's monitor be renewed, and no other's; both are in the journal" {
    local before
    uvctl start -q web
    before=$(main_pid uv-partition@web)
    as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Renew su web 0
    not as carol busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Renew su db 0
    wait_for 5 sh -c "! systemctl show -P MainPID uv-partition@web | grep -qxE '0|$before' && systemctl -q is-active uv-partition@web"
    outcomes "ULTRAVISOR_UID=$(id -u carol)" ULTRAVISOR_VERB=Renew >$T/got
    grep -x "$(id -u carol) Renew web allowed" $T/got
    grep -x "$(id -u carol) Renew db denied" $T/got
    uvctl stop -q web
}

@test "why answers for the partition and for the person" {
    as alice uvctl why start web >$T/got
    grep -q "^nothing refuses it" $T/got
    grep -q "this person (uid $(id -u alice)) may do it: org.ultravisor1.manage-partitions" $T/got
    run as victor uvctl why start web
    is "$status" 5
    [[ "$output" == *"this person (uid $(id -u victor)) may not do it"* ]]
    as victor uvctl list
}

@test "where a rule wants a password, the caller is told so, and an agent is asked only if the call lets it" {
    run as typist busctl --allow-interactive-authorization=no call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Status
    [[ "$output" == *"wants a password"* ]]
    run as typist busctl --allow-interactive-authorization=yes call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Status
    [[ "$output" == *"may not look at partitions"* ]]
}

@test "while polkit takes its time with one, others are answered: root at once" {
    as slow busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Stop asuts 1 web 0 0 "" >$T/slow 2>&1 &
    sleep 0.3
    ms=$($T/bus latency 20)
    echo "# slowest of 20 calls of root meanwhile: $ms ms" >&3
    kill -0 $!
    # (the one that waits is there still: the others didn't wait for it)
    wait $!
}

@test "who is gone before polkit said yes gets nothing done" {
    before=$(outcomes "ULTRAVISOR_UID=$(id -u slow)" ULTRAVISOR_OUTCOME=allowed | wc -l)
    for i in 1 2 3; do as slow $T/bus vanish 1 Stop; done
    sleep 7
    is "$(outcomes "ULTRAVISOR_UID=$(id -u slow)" ULTRAVISOR_OUTCOME=allowed | wc -l)" "$before"
    as mallory $T/bus vanish 500 Stop
    is "$(outcomes "ULTRAVISOR_UID=$(id -u mallory)" ULTRAVISOR_OUTCOME=allowed)" ""
    as alice uvctl list
}

@test "polkit is asked once whether a caller may look, and again as soon as its rules have changed" {
    local rules=/etc/polkit-1/rules.d/05-late.rules i
    mkfifo $T/in
    as victor $T/bus stay <$T/in >$T/out &
    exec 5>$T/in
    for i in 1 2 3; do echo >&5; done
    wait_for 5 sh -c "[ \$(grep -c yes $T/out) = 3 ]"
    echo 'polkit.addRule(function (action, subject) { if (subject.user == "victor") return polkit.Result.NO; });' >$rules
    for i in $(seq 20); do sleep 0.1; echo >&5; done    # well within the five seconds
    wait_for 5 grep -q no $T/out
    rm $rules
    for i in $(seq 20); do sleep 0.1; echo >&5; done
    wait_for 5 sh -c "[ \$(wc -l <$T/out) = 43 ]"
    is "$(tail -n 1 $T/out)" yes
    exec 5>&-
    wait $!
}

@test "a flood by nobody leaves the others their answers, and no growth" {
    before=$(rss)
    as mallory $T/bus flood 7 16 >$T/flood &
    sleep 1
    ms=$($T/bus latency 50); view=$(as victor $T/bus latency 50)
    first=$(for i in 1 2 3 4 5; do as victor $T/bus latency 1; done | sort -n | xargs)
    alone=$(for i in 1 2 3; do t=$(date +%s%N); pkcheck --action-id org.ultravisor1.view --process $$ || true; echo $((($(date +%s%N) - t) / 1000000)); done 2>/dev/null | sort -n | xargs)
    wait $!
    echo "# $(cat $T/flood) calls of the flood; slowest answer meanwhile: root $ms ms, ultravisor-view $view ms, five new callers $first ms; polkit alone $alone ms" >&3
    sleep 1
    echo "# uv-command: $before KiB before, $(rss) KiB after" >&3
    [ "$ms" -lt 20000 ]; [ "$view" -lt 20000 ]      # answered, before a caller gives up; figures are above
    [ "$(rss)" -lt $((before + 4096)) ]
    [ "$(outcomes "ULTRAVISOR_UID=$(id -u mallory)" | wc -l)" -lt 60 ]      # ten a minute
    as alice uvctl list
}

@test "random calls by nobody, by a viewer and by an admin end nothing, and nothing grows" {
    pid=$(main_pid uv-command)
    as mallory $T/bus fuzz 1000 1 $T/members
    as victor $T/bus fuzz 500 2 $T/members
    as alice $T/bus fuzz 500 3 $T/members
    before=$(rss)
    as mallory $T/bus fuzz 2000 4 $T/members
    $T/bus fuzz 3000 5 $T/members
    is "$(main_pid uv-command)" "$pid"
    echo "# uv-command: $before KiB before, $(rss) KiB after" >&3
    [ "$(rss)" -lt $((before + 4096)) ]
}

@test "the object manager's objects are uvctl list's" {
    busctl -j call org.ultravisor1 /org/ultravisor1 org.freedesktop.DBus.ObjectManager GetManagedObjects |
        jq -S '[.data[0][]["org.ultravisor1.Partition"] | select(.) | map_values(.data) | {Name, Type, Role, State, Isolation, Zone, Leader, Cores, CoresWanted, CoresReached,
            MemoryWanted, MemoryReached}] | sort_by(.Name)' >$T/bus.json
    uvctl list -a -o json | jq -S '[.[] | {Name, Type, Role, State, Isolation, Zone, Leader, Cores, CoresWanted, CoresReached,
            MemoryWanted, MemoryReached}] | sort_by(.Name)' >$T/uvctl.json
    [ "$(jq length $T/bus.json)" -ge 5 ]
    diff $T/bus.json $T/uvctl.json
}

@test "what a verb began is an object until long after its end, and its end is told" {
    local id path props
    id=$(busctl -j call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Start asuts 1 db 0 0 "for the test" | jq -r '.data[0]')
    path=/org/ultravisor1/job/$(sed -E 's/-/_2d/g; s/^([0-9])/_3\1/' <<<"$id")
    busctl call org.ultravisor1 /org/ultravisor1 org.ultravisor1.Manager Wait st "$id" 10000000
    job() { as victor busctl -j get-property org.ultravisor1 "$path" org.ultravisor1.Job "$1" | jq -r '.data | if type == "array" then join(" ") else . end'; }
    is "$(job Id) $(job Verb) $(job State) $(job Reason)" "$id start done for the test"
    uvctl history -a -o json | jq -e --arg t "$(job Transactions)" 'any(.[]; .Id == $t)'
    not as mallory busctl get-property org.ultravisor1 "$path" org.ultravisor1.Job State
    props=$(busctl introspect --no-legend org.ultravisor1 "$path" org.ultravisor1.Job | awk '$2 == "property" { sub(/^\./, "", $1); print $3, $1 }' | sort | xargs)
    is "$props" "$(manual_text | awk '/^\.SH/ { on = $2 == "JOBS" } on && /^\.B (s|as) / { print $2, $3 }' | sort | xargs)"
    uvctl stop db
}

@test "partitions that come and change are told to those who may look, and to nobody else" {
    as victor $T/bus signals 4 >$T/victor & as mallory $T/bus signals 4 >$T/mallory &
    wait_for 3 grep -q listening $T/victor
    sim fresh Share=0.1 64M
    uvctl apply -y >/dev/null
    uvctl start --no-block fresh || true
    wait
    cat $T/victor
    grep -qx "InterfacesAdded /org/ultravisor1/partition/fresh" $T/victor
    grep -qx "PropertiesChanged /org/ultravisor1/partition/fresh" $T/victor
    grep -qx "Changed /org/ultravisor1" $T/victor
    is "$(cat $T/mallory)" listening
}

@test "without a bus uvctl takes the private socket: root and its group may, others not" {
    mkdir -p $T/empty
    nobus() { unshare -m sh -c 'mount --bind $0 /run/dbus && exec runuser -u "$@"' $T/empty "$@"; }
    nobus root -- uvctl list
    nobus alice -- uvctl list
    run nobus victor -- uvctl list
    is "$status" 5
}

@test "uv-command killed: the name comes back, and a wait over the bus goes on" {
    systemctl kill -s KILL uv-command
    as alice uvctl list
    as victor uvctl list
}

@test "polkit that doesn't answer means no, but for root; without polkit the socket's group may" {
    systemctl mask --runtime --now polkit 2>/dev/null
    run as alice uvctl list
    is "$status" 5
    uvctl list
    mv /usr/share/dbus-1/system-services/org.freedesktop.PolicyKit1.service $T/
    busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig
    wait_for 5 as alice uvctl list
    run as victor uvctl list
    is "$status" 5
    [[ "$output" == *"there is no polkit here"* ]]
    mv $T/org.freedesktop.PolicyKit1.service /usr/share/dbus-1/system-services/
    systemctl unmask --runtime polkit; busctl call org.freedesktop.DBus / org.freedesktop.DBus ReloadConfig
    wait_for 5 as victor uvctl list
}
