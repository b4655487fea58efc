# One partition does its worst; the others keep their work, their log and their limits, and we go on answering.
# On kernel 6.1 with every controller. Figures are printed, each beside its goal (95 % of the work per CPU time, answers
# within 250 ms) and beside what a neighbour costs that does nothing worse than to use its CPU time: eight CPUs of this
# machine are two of the host's (TCG), so CPU time has what others take of it in it. Asserted are order and limits.
bats_require_minimum_version 1.5.0
load ../lib/uv

container() { # container NAME MEMORY EXEC [lines of [Partition]]
    definition "$1" "[Partition]
Type=container
StopTimeout=3s
${4:-}
[CPU]
Share=0.5
ShareMax=1
[Memory]
Size=$2
[Container]
Root=$ROOT/tree
Exec=$3"
}
setup_file() {
    instance_make; rm "$ROOT/machine.inventory"
    busybox_root "$ROOT/tree"
    local a; for a in tail yes seq wc; do ln -sf busybox "$ROOT/tree/bin/$a"; done
    $ULV_UNDER "$ULV_BIN/uvd" --standalone --root "$ROOT" >>"$ROOT/log" 2>&1 </dev/null 3>&- &
    LAUNCH=$!; export LAUNCH
    wait_for 60 uv list || { cat "$ROOT/log" >&2; return 1; }
    # Who works writes how far it came; who talks numbers its lines.
    container worker 32M 'sh -c "i=0; while :; do i=$((i + 1)); case $i in *000) echo $i >/tmp/count;; esac; done"'
    container talker 32M 'sh -c "i=0; while :; do i=$((i + 1)); echo word $i; sleep 0.1; done"'
    container forks 48M 'sh -c "f() { f | f & }; while :; do f; sleep 0.01; done"'
    container memory 48M 'sh -c "while :; do tail /dev/zero; dd if=/dev/zero of=/dev/shm/f bs=1M count=64; done"'
    container floods 32M 'yes 0123456789abcdef0123456789abcdef0123456789abcdef' LogMax=256K
    container opens 48M 'sh -c "ulimit -n 500000; many=$(yes /etc/passwd | head -n 2000); while :; do tail -f $many & sleep 0.1; done"'
    container files 48M 'sh -c "for d in /dev /run /tmp /dev/shm; do (i=0; while true >$d/f$i; do i=$((i + 1)); done; echo $d is full; sleep 1000) & done; wait"'
    container spins 32M 'sh -c "while :; do :; done"'
    uv apply -y
    uv start worker talker
    wait_for 20 eval '[ -s "$(inside worker)/tmp/count" ]'
    uv start spins; sleep 1
    work 3 >"$BATS_FILE_TMPDIR/rate" 3>&- & local w=$!
    answers 2; wait $w
    uv stop --force spins
    RATE=$(cat "$BATS_FILE_TMPDIR/rate") ROLES=$(roles); export RATE ROLES
    [ "$RATE" -gt 0 ]
    say "beside a neighbour that only uses its CPU time: planner $slow_list ms, transaction $slow_set ms; its work per CPU time is the 100 % of the others"
}
teardown_file() { instance_down; }

roles() { pgrep -x 'uvd|uv-command|uv-operations' | sort | tr '\n' ' '; }   # in this machine there is one instance
inside() { echo "/proc/$(field "$1" Leader)/root"; }
# The cgroup that has a partition's limits, and all of its processes.
cg() {
    local d; d=/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$(field "$1" Leader)/cgroup")
    while [ "${d##*/}" != "partition-$1" ] && [ "$d" != /sys/fs/cgroup ]; do d=${d%/*}; done
    echo "$d"
}
limits() { (cd "$(cg "$1")" && cat cpu.max memory.max pids.max); }
say() { echo "# $*" >&3; }
now_ms() { echo $(($(date +%s%N) / 1000000)); }
count() { local c; while ! read -r c <"$1/tmp/count" || [ -z "$c" ]; do :; done; echo "$c"; }
usage() { awk '/^usage_usec/ {print $2}' "$1/cpu.stat"; }

# work SECONDS: what the worker gets done in a second of CPU time.
work() {
    local root d a u; root=$(inside worker) d=$(cg worker); a=$(count "$root") u=$(usage "$d")
    sleep "$1"
    echo $((($(count "$root") - a) * 1000000 / ($(usage "$d") - u)))
}
# answers SECONDS: asks planner and ledger all the time; the longest that each took is in $slow_list and $slow_set, in ms.
answers() {
    local end=$((SECONDS + $1)) share=0.4 t; slow_list=0 slow_set=0
    while [ $SECONDS -lt "$end" ]; do
        t=$(now_ms); uv list >/dev/null || return 1; t=$(($(now_ms) - t)); [ $t -le $slow_list ] || slow_list=$t
        t=$(now_ms); uv set --runtime -q talker share=$share || return 1; t=$(($(now_ms) - t)); [ $t -le $slow_set ] || slow_set=$t
        [ $share = 0.4 ] && share=0.5 || share=0.4
    done
}
# words: every number from 1 on, once, in order; at least as many as $1.
words() {
    uv logs talker | tr -d '\r' | awk -v least="$1" '/^word / { if ($2 != n + 1) { print "word " $2 " after " n; bad = 1 } n = $2 }
        END { if (n < least) print n " words, not " least; exit bad || n < least }'
}
last_word() { uv logs -l 1 talker | tr -dc 0-9; }
# beside NAME [COMMAND...]: NAME does its worst for some seconds, then COMMAND looks at it while it does.
beside() {
    local name=$1 w pid had before a rate; shift
    pid=$(field worker Leader) had=$(limits worker) before=$(last_word)
    uv start "$name"; sleep 1
    a=$(count "$(inside worker)")
    work 3 >"$BATS_TEST_TMPDIR/rate" 3>&- & w=$!
    answers 2
    "$@"
    wait $w
    rate=$(cat "$BATS_TEST_TMPDIR/rate")
    say "beside $name: $((rate * 100 / RATE)) % of the work per CPU time (goal 95); slowest answer of the planner $slow_list ms, of a transaction $slow_set ms (goal 250)"
    [ "$(field worker Leader)" = "$pid" ]; [ "$(limits worker)" = "$had" ]
    [ "$(count "$(inside worker)")" -gt "$a" ]
    [ "$rate" -gt 0 ]
    uv stop --force "$name"
    words $((before + 1))
    [ "$(field worker State) $(field talker State)" = "running running" ]
}

bounded() { # bounded NAME FILE: FILE.current of its cgroup is within FILE.max
    local d; d=$(cg "$1")
    say "$1: $2 $(cat "$d/$2.current") of $(cat "$d/$2.max")"
    [ "$(cat "$d/$2.current")" -le "$(cat "$d/$2.max")" ]
}
throttled() { grep -q '^nr_throttled [1-9]' "$(cg "$1")/cpu.stat"; }
# Which of its limits a fork bomb meets first is the machine's choice: on a slow one that of CPU time.
forks_at_its_limit() { bounded forks pids; bounded forks memory; throttled forks; }
memory_at_its_limit() { bounded memory memory; grep -Eq '^(max|oom) [1-9]' "$(cg memory)/memory.events"; }
log_within_quota() {
    local n; n=$(cat "$ROOT/var/log/ultravisor/floods".log.* | wc -c)
    say "floods: $n bytes of log, LogMax=262144"
    [ "$n" -le 262144 ] && [ "$n" -gt 131072 ]
}
fds_are_bounded() {
    local p n=0
    for p in $(cat "$(cg opens)/cgroup.procs"); do n=$((n + $(ls "/proc/$p/fd" 2>/dev/null | wc -l))); done
    say "opens: $n open files"
    [ $n -gt 2000 ]
    bounded opens memory; bounded opens pids
}
files_are_bounded() { wait_for 10 eval 'uv logs files | grep -q "/dev is full"'; bounded files memory; }

@test "a fork bomb meets its own limit; others keep their work, their log, their limits, and we answer" {
    beside forks forks_at_its_limit
}
@test "a memory hog meets its own limit, the same" {
    beside memory memory_at_its_limit
}
@test "a flood of the console stays within LogMax=, and costs no neighbour a line" {
    beside floods log_within_quota
}
@test "open files cost their opener's memory, and nobody else's" {
    beside opens fds_are_bounded
}
@test "files in memory file systems end at their number, and nobody else's do" {
    beside files files_are_bounded
}
@test "our processes weigh ten times what a partition does, where they compete for CPU time" {
    local p; for p in $(pgrep -x 'uvd|uv-command|uv-operations') $(pgrep -x uv-monitor-lxc | head -n 2); do
        [ "$(cat "/sys/fs/cgroup$(sed -n 's/^0:://p' "/proc/$p/cgroup")/cpu.weight")" = 1000 ]
    done
    [ "$(cat "$(cg worker)/cpu.weight")" = 100 ]
}
@test "after all of it each of our processes is the one that began" {
    [ "$(wc -w <<<"$ROLES")" = 3 ]
    [ "$(roles)" = "$ROLES" ]
}
