# What administrators get wrong, and what they are told: the slips of hand and memory, one test each.
load ../lib/uv

setup_file() { instance_up; }
teardown_file() { instance_down; }
setup() { rm -rf "$ROOT"/etc/ultravisor/partitions/* "$ROOT"/etc/ultravisor/policies/*; }
teardown() { uv stop -a --force >/dev/null 2>&1; uv reload >/dev/null; uv apply -y --prune >/dev/null 2>&1 || true; }

# refused CODE WORD...: three lines, of which the last begins with "try: "
refused() {
    local code=$1; shift
    run uv "$@"
    [ "$status" = "$code" ] || { echo "uvctl $*: exit $status: $output"; return 1; }
    [ "${#lines[@]}" = 3 ] && [[ "${lines[2]}" == "try: "* ]] || { echo "uvctl $*: not three lines: $output"; return 1; }
}
# typing KEYS COMMAND...: on a terminal
typing() { local keys=$1; shift; printf "$keys" | script -qec "$*" /dev/null; }

@test "every refusal is what, why and try" {
    sim web Share=1 256M; uv apply -y; uv start web
    refused 2 set web memory=64
    refused 2 set web memory=64MB
    refused 2 set web share=much
    refused 2 set web disk=1G
    refused 2 why start
    refused 2 why nosuch web
    refused 2 why move cores=1 web
    refused 2 help
    refused 2 nosuch --help
    refused 4 kill nosuch
    refused 4 exec nosuch -- true
    refused 4 logs nosuch
    refused 4 status nosuch
    refused 4 events nosuch
    refused 4 events web nosuch --wait=1s
    for words in "start web" "status web" "resources" "events" "top"; do refused 2 $words -o name; done
    refused 4 history nosuch
    refused 4 verify "$ROOT/nosuch"
    refused 1 backup "$ROOT/nosuch/file"
    refused 1 restore "$ROOT/nosuch"
}

@test "what an answer says by its exit status isn't followed by another reason" {
    sim web Share=1 256M; uv apply -y; uv start web
    run uv why set web memory=900G; [ "$status" = 7 ]; [[ "$output" != *"nobody said why"* ]]
    run uv why remove web; [ "$status" = 6 ]; [[ "$output" != *"nobody said why"* ]]
    printf '[CPU]\nShare=much\n' >"$ROOT/bad.partition"
    run uv verify "$ROOT/bad.partition"; [ "$status" = 1 ]; [[ "$output" != *"nobody said why"* ]]
}

@test "what to try helps: a directory that isn't there, memory in pieces, words of other programs, an option of a verb" {
    sim web Share=1 256M; uv apply -y
    refused 1 backup "$ROOT/nosuch/file"; [ "${lines[2]}" = "try: mkdir -p $ROOT/nosuch" ]
    refused 2 set web memory=5; [ "${lines[2]}" = "try: memory=6M" ]
    refused 2 info web; [[ "${lines[2]}" == "try: uvctl status "* ]]
    refused 2 ps; [[ "${lines[2]}" == "try: uvctl list "* ]]
    refused 4 undo nosuch; [[ "${lines[0]}" == *"transaction nosuch"* ]]
    run uv start --nosuch web; [ "$status" = 2 ]; [ "${lines[1]}" = "try: uvctl start --help" ]
}

@test "memory without a unit is not taken for bytes, on the command line and in files" {
    sim web Share=1 256M; uv apply -y; uv start web
    refused 2 set web memory=64; [ "${lines[2]}" = "try: memory=64M" ]
    [ "$(field web MemoryReached)" = $((256 << 20)) ]
    sim small Share=1 64
    run uv verify; [ "$status" = 1 ]; [[ "$output" == *"Size=64 is not a size from 2M"* ]]
    rm "$ROOT/etc/ultravisor/partitions/small.partition"
}

@test "a file that was not applied is told where its partition is said not to be there" {
    sim fresh Share=1 256M
    for words in "start fresh" "status fresh" "set fresh memory=1G"; do
        run uv $words; [ "$status" = 4 ]; [[ "$output" == *"counts only once it is applied"*"try: uvctl apply"* ]]
    done
    uv apply -y; uv start fresh
}

@test "what set has set over the files is told by plan, apply and edit, changes nothing, and goes with revert" {
    sim web Share=1 256M; sed -i 's/^Size=.*/&\nSizeMax=1G/' "$ROOT/etc/ultravisor/partitions/web.partition"
    uv stop -q -a; uv apply -y -q --prune; uv start web; run uv plan; [ "$output" = "Nothing to do." ]
    uv set web memory=512M; uv set web tasks=100
    kept="web  kept  memory set to 512M by 50-set.conf, 256M without it; tasks 4096 -> 100 by 50-set.conf (uvctl revert web)"
    for i in 1 2; do run uv apply; [ "$status" = 0 ]; [ "$output" = "$kept"$'\n'"Nothing to do." ] || { echo "$output"; false; }; done
    sed -i 's/^Size=.*/Size=384M/' "$ROOT/etc/ultravisor/partitions/web.partition"
    run uv apply -y; [[ "$output" == *"set to 512M by 50-set.conf, 384M without it"* ]]
    EDITOR="sed -i s/Size=384M/Size=320M/" run uv edit -y web; [[ "$output" == *"320M without it"* ]]
    [ "$(field web MemoryWanted)" = $((512 << 20)) ]
    run uv revert -n web; [[ "$output" == *"web  change  memory 512M -> 320M, tasks 100 -> 4096"*"live"* ]]
    id=$(uv revert web | grep -o 'uvctl undo .*' | cut -d' ' -f3)
    [ "$(field web MemoryReached)" = $((320 << 20)) ]; [ ! -e "$ROOT/etc/ultravisor/partitions/web.partition.d" ]
    run uv plan; [ "$output" = "Nothing to do." ]
    refused 6 revert web; [[ "${lines[0]}" == "web has nothing to revert" ]]
    refused 4 revert nosuch
    uv undo "$id"; [ "$(field web MemoryReached)" = $((512 << 20)) ]; [ -e "$ROOT/etc/ultravisor/partitions/web.partition.d/50-set.conf" ]
}

@test "edit of a file with a hand edit that doesn't count yet says so once, and doesn't ask again" {
    command -v script >/dev/null || skip "script isn't installed"
    sim web Share=1 256M; uv apply -y
    sed -i 's/^Size=.*/Size=384M/' "$ROOT/etc/ultravisor/partitions/web.partition"
    EDITOR="sed -i s/Size=384M/Size=320M/" run typing 'y\ny\ny\n' "$ULV_BIN/uvctl --root $ROOT edit web"
    [[ "$output" == *"it was edited by hand"* ]]; [[ "$output" != *"changed meanwhile"* ]]
}

@test "what was typed into edit outlives a refusal: its place is told, and apply takes it from there" {
    sim web Share=1 256M; uv apply -y
    EDITOR="sed -i s/Share=1/Share=9999/" run uv edit -y web
    [ "$status" != 0 ]; [[ "$output" == *"what you wrote is kept in "*"/web.partition"* ]]
    kept=$(sed -n 's/^when it is mended: uvctl apply //p' <<<"$output")
    grep -qx Share=9999 "$kept"; [ "$(field web ShareWanted)" = 0 ]
    sed -i s/Share=9999/Share=0.5/ "$kept"
    uv apply -y "$kept"
    grep -qx Share=0.5 "$ROOT/etc/ultravisor/partitions/web.partition"
    rm "$kept"; rmdir "${kept%/*}"
    EDITOR="sed -i s/Share=0.5/Shares=1/" run uv edit -y web </dev/null        # an error in it, and nobody to ask
    [ "$status" = 1 ]; kept=$(sed -n 's/^when it is mended: uvctl apply //p' <<<"$output")
    grep -qx Shares=1 "$kept"; rm "$kept"; rmdir "${kept%/*}"
    EDITOR=true run uv edit -y web; [ "$output" = "nothing was changed" ]
}

@test "numbers in JSON are numbers, and yes or no is true or false" {
    run uv status -o json
    jq -e '[.Generation, .Definitions, .DefinitionsVersion, .Jobs] | all(type == "number")' <<<"$output"
    jq -e '[.KVM, .FilesDiffer] | all(type == "boolean")' <<<"$output"
    uv resources -a -o json | jq -e '[.. | objects | select(.Kind? == "memory") | .Values.amount] | length > 0 and all(type == "number")'
}

@test "more than a partition has can't be moved, and that is what is said" {
    sim a Cores=2 1G; sim b Cores=1 1G; uv apply -y; uv start a b
    refused 7 move cores=5 a b; [ "${lines[1]}" = "a has 2 cores" ]
    refused 7 move memory=9G a b; [ "${lines[1]}" = "a has 1G" ]
}

@test "why answers in lines for people, also where nothing refuses" {
    sim web Share=1 256M; uv apply -y
    run uv why start web
    [ "$status" = 0 ]; [ "${lines[0]}" = "nothing refuses it" ]; [[ "${lines[1]}" == "web  start  1 share, 256M"* ]]
    [[ "$output" != *$'\t'* ]]
}

@test "undo says what goes where, not how the ledger writes it" {
    sim a Share=1 256M; sim b Share=1 256M; uv apply -y; uv start a b
    uv move share=0.5 a b
    run uv undo "$(uv history -l 1 -o name)"
    [ "$status" = 0 ]; [[ "$output" == *"b  undo  move 0.5 share to a"* ]]; [[ "$output" != *amount=* ]]
}

@test "list -a counts the partitions, not what keeps them" {
    sim web Share=1 256M; uv apply -y
    run uv list -a; [[ "$output" == *"$(uv list -o name | wc -l) partition"* ]]
}

@test "version is told of uvctl and of the planner" {
    run uv version; [ "$status" = 0 ]; [[ "$output" == *"uvctl "*"uv-command "* ]]
}
