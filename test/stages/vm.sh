# The full VM of LAB.md (kernel 6.1, every cgroup v2 controller): what the host can't enforce is tested there.
. test/vm/stage.sh
