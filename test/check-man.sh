#!/usr/bin/env bash
# Holds the manual to the code, both ways: verbs, options, keys of definitions and policies, exit codes. Runs the
# formatters over every page, verifies the examples, and asks the completion a question.
#   test/check-man.sh BUILD
set -u
shopt -s lastpipe      # check() counts in this shell, not in a pipe's
B=$1; n=0; status=0
uvctl=$B/bin/uvctl
tmp=$(mktemp -d) && trap 'rm -rf "$tmp"' EXIT
check() { # check TEXT: reads complaints on stdin; none = ok
    local out; out=$(cat); n=$((n + 1))
    if [ -z "$out" ]; then echo "ok $n - $1"; else echo "not ok $n - $1"; printf '%s\n' "$out" | sed 's/^/# /'; status=1; fi
}
skip() { n=$((n + 1)); echo "ok $n - $1 # SKIP $2"; }
# compare WHERE_A WHERE_B FILE_A FILE_B: what only one of two lists has
compare() {
    comm -23 <(sort -u "$3") <(sort -u "$4") | sed "s|\$|: only in $1|"
    comm -13 <(sort -u "$3") <(sort -u "$4") | sed "s|\$|: only in $2|"
    [ -s "$3" ] || echo "nothing found in $1"
}
page() { sed 's/\\-/-/g; s/\\f.//g' "man/$1"; }
# The words that stand behind .TP in the sections of a page whose titles match.
heads() { # heads PAGE SECTION_REGEX
    page "$1" | awk -v want="$2" '/^\.SH/ { on = $0 ~ want } on && was_tp { print } { was_tp = /^\.TP/ }' | sed -E 's/^\.(B|BR|BI|I) //'
}

"$uvctl" --help=verbs >"$tmp/verbs" || { echo "Bail out! $uvctl --help=verbs failed"; exit 1; }
cut -d' ' -f1 "$tmp/verbs" >"$tmp/a"
heads uvctl.1 '^.SH VERBS' | awk '{ print $1 }' >"$tmp/b"
compare "uvctl's table" "uvctl(1)" "$tmp/a" "$tmp/b" | check "every verb is in uvctl(1), and no other"

tr ' ' '\n' <"$tmp/verbs" | grep -oE '^--[a-z-]+' >"$tmp/a"
heads uvctl.1 '^.SH OPTIONS' | grep -oE -- '--[a-z-]+' >"$tmp/b"
compare "uvctl's table" "uvctl(1)" "$tmp/a" "$tmp/b" | check "every option is in uvctl(1), and no other"
page uvctl.1 | grep -oE -- '--[a-z][a-z-]+' | sort -u | comm -23 - <(sort -u "$tmp/a") | check "uvctl(1) names no option that isn't there"

sed -nE 's/.*KEY\("([A-Za-z]+)", "([A-Za-z]+)".*/[\1] \2/p' model/definition-keys.c model/definition-parts.c model/attachment.c model/channel.c >"$tmp/a"
for s in Partition CPU Memory Limits Container Network Credential Mount Device Block Channel VM Sim; do
    heads uv-partition.5 "^.SH .$s.\$" | grep -oE '[A-Za-z]+=' | sed "s/=\$//; s/^/[$s] /"
done >"$tmp/b"
compare "model/definition-keys.c" "uv-partition(5)" "$tmp/a" "$tmp/b" | check "every key of definitions is in uv-partition(5), and no other"

grep -oE '\{ (HOST|POOL|REQUIRE), "[A-Za-z]+" \}' model/policy.c | sed -E 's/\{ ([A-Z]+), "([A-Za-z]+)" \}/\1 \2/' >"$tmp/a"
for s in Host Pool Require; do
    heads uv-policy.5 "^.SH .?.$s" | grep -oE '[A-Za-z]+=' | sed "s/=\$//; s/^/${s^^} /"
done >"$tmp/b"
compare "model/policy.c" "uv-policy(5)" "$tmp/a" "$tmp/b" | check "every key of policies is in uv-policy(5), and no other"

sed -nE 's/.*ULV_EXIT_[A-Z_]+ = ([0-9]+).*/\1/p' lib/diag.h >"$tmp/a"
heads uvctl.1 '^.SH EXIT STATUS' >"$tmp/b"
compare "lib/diag.h" "uvctl(1)" "$tmp/a" "$tmp/b" | check "every exit code is in uvctl(1), and no other"

grep -oE '\bulv_channel_[a-z_]+\(' channel/ultravisor.h | sort -u >"$tmp/a"
page libultravisor.3 | awk '/^.SH/ { on = /SYNOPSIS/ } on' | grep -oE '\bulv_channel_[a-z_]+\(' >"$tmp/b"
compare "channel/ultravisor.h" "libultravisor(3)" "$tmp/a" "$tmp/b" | check "every function of libultravisor is in its page, and no other"
sed -nE 's/^ +(ULV_[A-Z_]+)( = 1)?, +\/\*.*/\1/p' channel/ultravisor.h >"$tmp/a"
heads libultravisor.3 '^.SH RESULTS' >"$tmp/b"
compare "channel/ultravisor.h" "libultravisor(3)" "$tmp/a" "$tmp/b" | check "every result of libultravisor is in its page, and no other"

sed -nE 's/^        ULV_CALL_([A-Z_]+)( = [0-9]+)?,.*/\1/p' channel/call.h | awk '$1 == "OK" { code = 1 } !code { print } code && $1 != "CODES" { print "code " $1 }' >"$tmp/a"
{ heads uv-call.7 '^.SH VERBS' | cut -d' ' -f1; heads uv-call.7 '^.SH CODES' | sed 's/^/code /; s/ ([0-9]*)$//'; } >"$tmp/b"
compare "channel/call.h" "uv-call(7)" "$tmp/a" "$tmp/b" | check "every verb and code of the call interface is in uv-call(7), and no other"
"$B/bin/uvguest" --help | awk '/^  [a-z]/ { print $1 }' >"$tmp/a"
heads uvguest.1 '^.SH VERBS' | sed 's/^"//' | awk '{ print $1 }' >"$tmp/b"
compare "uvguest --help" "uvguest(1)" "$tmp/a" "$tmp/b" | check "every verb of uvguest is in uvguest(1), and no other"

for p in uvctl.1 org.ultravisor1.5 uvd.8 uv-command.8 uv-operations.8 uv-partition.5 uv-policy.5 ultravisor.7 libultravisor.3 uv-channel.7 uv-call.7 uvguest.1; do
    [ -f "man/$p" ] || echo "man/$p is missing"
done | check "all pages are there"
if command -v groff >/dev/null; then
    for p in man/*.[0-9]; do groff -t -man -Tutf8 -ww "$p" 2>&1 >/dev/null; done | check "groff takes every page without a warning"
else
    skip "groff takes every page without a warning" "groff is not installed"
fi
if command -v mandoc >/dev/null; then
    for p in man/*.[0-9]; do mandoc -Tlint "$p"; done 2>&1 | check "mandoc takes every page without a warning"
else
    skip "mandoc takes every page without a warning" "mandoc is not installed"
fi

# Examples that begin with "# NAME.partition" or "# NAME.policy" are files: they have to verify.
for p in uv-partition.5 uv-policy.5; do
    page "$p" | awk -v dir="$tmp" '
        /^\.EX/ { on = 1; file = ""; next } /^\.EE/ { on = 0 }
        on && file == "" { if (match($0, /^# [A-Za-z0-9.-]+\.(partition|policy)$/)) file = dir "/" substr($0, 3); else on = 0 }
        on { print > file }'
done
ls "$tmp"/*.partition "$tmp"/*.policy >/dev/null 2>&1 || echo "no example found" >"$tmp/none"
{ cat "$tmp/none" 2>/dev/null; "$uvctl" verify -q "$tmp"/*.partition "$tmp"/*.policy 2>&1; } | check "the manual's examples verify"
"$uvctl" verify -q policies/*.policy 2>&1 | check "the shipped policies verify"
mkdir -p "$tmp/example" && cp -r examples/partitions examples/policies "$tmp/example/" &&
    sed -i "s|@ROOTS@|/srv/roots|" "$tmp"/example/partitions/*.partition
"$uvctl" verify -q "$tmp/example" 2>&1 | check "the shipped example verifies"

# README's examples: the definition in it verifies, and every verb and option that it types is there.
mkdir -p "$tmp/readme" && awk '/^    \[Partition\]/ { on = 1 } on && /^[^ ]/ { exit } on { sub(/^    /, ""); print }' README.md >"$tmp/readme/mine.partition"
{
    "$uvctl" verify -q "$tmp/readme/mine.partition" 2>&1
    grep -ohE "(^ +|\`)uvctl [a-z][^#\`,;|]*" README.md | sed -E 's/^[ `]*uvctl ?//' | while read -r verb rest; do
        [ -z "$verb" ] || grep -q "^$verb " "$tmp/verbs" || { echo "README: uvctl has no verb $verb"; continue; }
        for word in $rest; do
            case $word in --) break ;; --*) grep -q "^$verb .*${word%%=*}" "$tmp/verbs" || echo "README: uvctl $verb has no $word" ;; esac
        done
    done
} | check "README's definition verifies, and the commands that it types are there"

complete_word() { # complete_word WORD...: what completes the last one
    PATH="$(cd "$B/bin" && pwd):$PATH" bash -c '
        compopt() { :; }
        . uvctl/completion/uvctl.bash
        COMP_WORDS=(uvctl "$@"); COMP_CWORD=$#; _uvctl; printf "%s\n" "${COMPREPLY[@]}"' complete "$@"
}
{
    [ "$(complete_word sta | sort | xargs)" = "start status" ] || echo "sta completes to: $(complete_word sta | xargs)"
    [ "$(complete_word apply --pr)" = "--prune" ] || echo "apply --pr completes to: $(complete_word apply --pr | xargs)"
    [ "$(complete_word list --pr)" = "" ] || echo "list --pr completes to: $(complete_word list --pr | xargs)"
    [ "$(complete_word image bu)" = build ] || echo "image bu completes to: $(complete_word image bu | xargs)"
    [ "$(complete_word image build h)" = host ] || echo "image build h completes to: $(complete_word image build h | xargs)"
    [ "$(complete_word list -o na) $(complete_word start -o na)" = "name " ] || echo "-o na completes to: $(complete_word list -o na) $(complete_word start -o na)"
    [ "$(complete_word list -o js)" = "json" ] || echo "list -o js completes to: $(complete_word list -o js | xargs)"
} 2>&1 | check "completion offers the verbs and options of the table"
if command -v zsh >/dev/null; then
    zsh_words() { # zsh_words WORD...: what may stand for the last one
        PATH="$(cd "$B/bin" && pwd):$PATH" zsh -f -c '
            compadd() { local a; for a; do [[ -z $a || ( $a == -* && $a != --?* ) ]] || print -r -- $a; done }; _files() { }
            . ./uvctl/completion/uvctl.zsh
            words=(uvctl "$@"); CURRENT=$#words; _uvctl' complete "$@"
    }
    {
        zsh_words '' | sort >"$tmp/a"; cut -d' ' -f1 "$tmp/verbs" | sort | diff "$tmp/a" -
        while read -r verb options; do
            zsh_words "$verb" -- | sort >"$tmp/a"; tr ' ' '\n' <<<"$options" | grep '^--' | sort | diff "$tmp/a" - || echo "of $verb"
        done <"$tmp/verbs"
        [ "$(zsh_words list -o '' | xargs) $(zsh_words start -o '' | xargs)" = "table wide json name table wide json" ] || echo "-o"
    } 2>&1 | check "zsh's completion offers every verb with its options, and no other"
else
    skip "zsh's completion offers every verb with its options, and no other" "zsh is not installed"
fi
"$uvctl" --help | { awk 'length > 80 { print "longer than 80 columns: " $0 }'; } | check "--help fits 80 columns"
{ [ "$("$uvctl" --help | wc -l)" -le 45 ] || echo "$("$uvctl" --help | wc -l) lines"; } | check "--help fits one screen"
echo "1..$n"; exit $status
