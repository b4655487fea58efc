# make install and uninstall, into a directory as a packager does it.
load ../lib/uv

setup() { cd "$BATS_TEST_DIRNAME/../.." && D=$BATS_TEST_TMPDIR/d && B=${ULV_BIN%/bin}; }
into() { make -s B="$B" DESTDIR="$D" "$@"; }
files() { (cd "$D" && find . ! -type d | sort); }

@test "make uninstall removes exactly what make install put, whatever the prefix, and leaves the rest" {
    for prefix in /usr /usr/local /opt/uv; do
        mkdir -p "$D$prefix/bin" "$D$prefix/lib"; touch "$D$prefix/bin/other" "$D$prefix/lib/other"
        into install PREFIX=$prefix
        [ "$(files | wc -l)" -gt 30 ]
        into uninstall PREFIX=$prefix
        [ "$(files | xargs)" = ".$prefix/bin/other .$prefix/lib/other" ]
        [ -z "$(find "$D" -depth -type d -name '*ultravisor*')" ]
        rm -r "$D"
    done
}

@test "every program, manual, unit, rule, policy and example of the tree is installed, and the units name programs that are there" {
    local f
    into install PREFIX=/opt/uv
    for f in "$B"/bin/*; do find "$D" -path "*/$(basename "$f")" -perm 755 | grep -q . || { echo "not installed: $f"; return 1; }; done
    for f in man/*.[1-9] systemd/*.{service,socket,target,rules,policy,catalog} systemd/org.*.conf policies/*.policy examples/*/*.{policy,partition,inventory,c}; do
        [ ! -e "$f" ] || find "$D" -name "$(basename "$f")" -perm 644 | grep -q . || { echo "not installed: $f"; return 1; }
    done
    for f in $(grep -rhoE '^Exec[A-Za-z]+=[-+!@:]*[^ ]+' "$D/opt/uv/lib/systemd/system" | sed -E 's/^[^=]*=[-+!@:]*//' | sort -u); do
        case $f in /opt/uv/*) [ -x "$D$f" ] || { echo "a unit runs $f, which isn't there"; return 1; } ;; esac
    done
    [ -z "$(grep -rl '/usr/lib/ultravisor\|@ROOTS@' "$D" | grep -v '/doc/ultravisor/[A-Z]*\.md$\|/man/')" ]
}

@test "what is installed runs from where it is: a standalone instance by the installed uvd" {
    into install PREFIX=/usr
    ULV_BIN=$D/usr/bin
    [ "$("$D/usr/sbin/uvd" --version)" = "uvd $("$ULV_BIN/uvctl" --version | awk '{ print $2 }')" ]
    ln -s ../sbin/uvd "$D/usr/bin/uvd"
    chmod 755 "$BATS_TEST_TMPDIR" "$BATS_RUN_TMPDIR" "$(dirname "$BATS_TEST_TMPDIR")" "$D"
    instance_up
    uv list
    [ "$(readlink "/proc/$(pids_of uv-command)/exe")" = "$D/usr/lib/ultravisor/uv-command" ]
    sim web "Cores=2" 1G
    uv apply -y
    uv start web
    [ "$(field web State)" = running ]
    instance_down
}

@test "the bounding set of a partition's unit is the tables of what its monitor keeps, and why" {
    diff <(sed -n 's/^CapabilityBoundingSet=//p' "$BATS_TEST_DIRNAME/../../systemd/uv-partition@.service" | tr ' ' '\n' | sort) \
         <(sed -nE 's/^ +\{ (CAP_[A-Z_]+), ULV_STAGE.*/\1/p' "$BATS_TEST_DIRNAME"/../../plugins/{lxc,kvm}/narrow.c | sort -u)
}

@test "libultravisor gives programs the functions of its header, of its version, and no other name; it needs libc alone" {
    local so=$D/opt/uv/lib/libultravisor.so
    into install PREFIX=/opt/uv
    diff <(grep -oE '\bulv_channel_[a-z_]+\(' "$D/opt/uv/include/ultravisor.h" | tr -d '(' | sort -u) \
         <(nm -D --defined-only --with-symbol-versions "$so" | sed -nE 's/.* T (.*)@@ULTRAVISOR_0$/\1/p')
    [ "$(nm -D --defined-only "$so" | grep -v ' [AT] ' | xargs)" = "" ]
    [ "$(nm -g --defined-only "$D/opt/uv/lib/libultravisor.a" | awk 'NF == 3 { print $3 }' | grep -v '^ulv_channel_' | xargs)" = "" ]
    [ "$(readelf -d "$so" | sed -n 's/.*\(NEEDED\|SONAME\).*\[\(.*\)\]/\2/p' | sort | xargs)" = "libc.so.6 libultravisor.so.0" ]
}
