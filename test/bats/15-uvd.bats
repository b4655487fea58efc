# uvd alone, with a program as its starter, its command and its monitors (test/tools/drive-uvd.c).
load ../lib/uv

drive() {
    run timeout 60 "$ULV_BIN/../test/drive-uvd" "$1"
    echo "$output"
    [ "$status" = 0 ]
    [[ "$output" == *"ok 1 - uvd: "* ]]
}

@test "a partition is started, observed and released; repeated ids; identity of monitors" { drive life; }
@test "monitors are asked for when they are missing, and only then; a failed start gives all back" { drive starter; }
@test "a monitor that is quicker than the starter's word on it waits for that, and is judged then" { drive early; }
@test "a start that comes between the two words of a monitor's end gets a monitor of its own" { drive overtaken; }
@test "kill -9 of uvd under load loses nothing acknowledged" { drive kill; }
@test "a full disk: outcome unknown, nothing lost, goes on when there is room" { drive disk; }
@test "a deleted ledger with running partitions is refused, then rebuilt from what runs" { drive rebuild; }
@test "a backup restores to the same text, online and offline; a changed one is refused" { drive backup; }
@test "uvd has no privilege, seccomp is on, and only uv-command gets a word" { drive wall; }
@test "a second uvd on the same ledger is refused, and the first never notices" { drive found; }
@test "out of file descriptors uvd refuses connections and serves on" { drive files; }
