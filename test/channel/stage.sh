# The ring's protocol by a model checker, and its controls. Quick, but spin is a package of its own: in `make long`.
if [ -n "${LONG:-}" ]; then
    model() { # model NAME EXPECTED_ERRORS [DEFINE]
        one "$1" 300 bash -c 'd=$(mktemp -d) && cd "$d" && spin $3 -a "$1" >&2 && cc -O2 -w -DSAFETY -o pan pan.c && out=$(./pan -m200000) &&
            echo "$out" >&2 && echo "$out" | grep -q "errors: $2$" && ! echo "$out" | grep -q "depth too small" && rm -rf "$d" && echo "ok 1 - spin: $0"' \
            "$1" "$PWD/test/channel/ring.pml" "$2" "${3:-}"
    }
    if command -v spin >/dev/null || launch/packages.sh spin; then
        model channel-ring-model 0
        for c in NO_ZERO NO_SECOND_LOOK NO_TELL; do model "channel-ring-control-$c" 1 "-D$c"; done
    else
        one channel-ring-model 10 echo "ok 1 - the ring's model # SKIP spin can't be installed"
    fi
    ULV_CHANNEL_ROUNDS=20000 one long-test-channel 3600 "$B/test/test-channel"
fi
