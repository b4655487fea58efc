# What a user sees, on a real standalone Ultravisor.
for t in test/bats/*.bats; do
    budget=240
    [ -z "${LONG:-}" ] || case $t in *60-containment*) budget=7200 ;; esac        # 10,000 starts of a root that changes
    one "$(basename "$t")" "$budget" bats --tap "$t"
done
