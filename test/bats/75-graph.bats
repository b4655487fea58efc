# The picture of the ledger.
load ../lib/uv

setup_file() {
    instance_up
    sim web Share=1 1G
    sim db Cores=2 2G After=web
    uv apply -y; uv start -a
}
teardown_file() { instance_down; }

@test "graph: every owner, what it has on each node, After=, in a form that dot takes" {
    uv graph >"$ROOT/graph"
    for want in '"db" -> "web" [style=dashed, label="After"]' '"db" -> "memory 1/4K" [label="2G"]' \
                '"web" -> "share pool" [label="1"]' '"db" -> "cores 1 db"' 'subgraph cluster_node1'; do
        grep -qF -- "$want" "$ROOT/graph" || { echo "missing: $want"; cat "$ROOT/graph"; return 1; }
    done
    # A core is in one box, and all are in some: the sum is the machine.
    [ "$(sed -n 's/.*"cores [01] .*label="cores* \([-0-9,]*\)".*/\1/p' "$ROOT/graph" | tr ',' '\n' |
        awk -F- '{ n += ($2 == "" ? 1 : $2 - $1 + 1) } END { print n }')" = 16 ]
    command -v dot >/dev/null || skip "dot (package graphviz) is not installed"
    dot -Tsvg "$ROOT/graph" >"$ROOT/graph.svg"
    grep -q "<title>db&#45;&gt;web</title>" "$ROOT/graph.svg"
}
