# What a user sees, on a real standalone Ultravisor.
for t in test/bats/*.bats; do one "$(basename "$t")" 240 bats --tap "$t"; done
