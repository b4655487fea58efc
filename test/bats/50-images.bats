# Images: built, imported, listed, removed; a root of an image and a writable layer; templates; uvctl new.
load ../lib/uv

setup_file() {
    instance_up "$PART"
    export IMAGES=$ROOT/var/lib/ultravisor/images WRITABLE=$ROOT/var/lib/ultravisor/writable
    export RECEIVED=$ROOT/received; mkdir "$RECEIVED"
    uv image build busybox
}
teardown_file() { instance_down; }
id_of() { uv image list -o json | jq -r --arg n "$1" '.[] | select(.Name == $n and .Current) | .Id'; }
ids() { ls "$IMAGES/store" | sort | tr '\n' ' '; }
small() { uv new "$1" --image "${2:-busybox}" --share 0.1 --memory 64M -q "${@:3}"; }
# Only an init may give files to other users inside.
as_system() {
    sed -i "s|^Exec=.*|Init=yes\nExec=/bin/sh -c 'trap \"exit 0\" 37; while :; do sleep 1 \& wait \$!; done'|" "$ROOT/etc/ultravisor/partitions/$1.partition"
    uv apply -y
}
away() { uv stop --force "$1" >/dev/null; uv remove --purge -q "$1"; }
# Everything outside the images that an archive could have reached, as it is now.
outside() { find "$ROOT/canary" -printf '%p %u %m %s %l\n' | sort; stat -c '%n %i %s %Y' /etc/passwd /dev/null; }

@test "new: a definition in one command that verify accepts, edit shows, and that runs" {
    uv new one --image busybox --share 0.1 --memory 64M --start
    file=$ROOT/etc/ultravisor/partitions/one.partition
    uv verify "$file"; uv verify
    run env EDITOR=cat "$ULV_BIN/uvctl" --root "$ROOT" edit one
    [[ "$output" == *"Image=busybox"* && "$output" == *"nothing was changed"* ]]
    [ "$(field one State)" = running ]
    [ "$(uv exec one -- id -u)" = 0 ]
    uv status one | grep -q "Image: busybox, what it writes is kept; no quota"; [ "$(uv status one -o json | jq -r '.[0].Quota')" = none ]
    [ "$(uv exec one -- hostname)" = one ]
    run uv new one --image busybox; [ "$status" = 6 ]; [[ "$output" == *"uvctl edit one"* ]]
    run uv new two --image busybox --share two; [ "$status" = 2 ]; [[ "$output" == *"two.partition"*"Share=two"* ]]
    run uv new two --image nosuch; [ "$status" = 4 ]; [[ "$output" == *"try: uvctl image import nosuch PATH"* ]]
    [ ! -e "$ROOT/etc/ultravisor/partitions/two.partition" ]
    away one
}

@test "new: the words of its command arrive as they were typed" {
    small words busybox --start -- sh -c 'printf "<%s>" "$@"; sleep 60' x 'a b' 'q"q' "it's" 'back\slash' ''
    wait_for 5 bash -c '"$ULV_BIN/uvctl" --root "$ROOT" logs words | grep -qF "<a b>"'
    run uv logs words; [ "$output" = "<a b><q\"q><it's><back\\slash><>" ]
    away words
}

# bats test_tags=kernel
@test "the image is read-only: what a partition writes, replaces and deletes is its own" {
    before=$(cd "$IMAGES/store/$(id_of busybox)/tree" && find . -printf '%p %u %m %s %l\n' | sort)
    small a; small b; as_system a; uv start a b
    uv exec a -- sh -c 'echo mine >/etc/passwd; rm /etc/group; mkdir /srv/d; chown 33:33 /srv/d; chmod 700 /srv/d; rm -rf /home; mkdir /home; ln -s x /home/l'
    [ "$(uv exec a -- cat /etc/passwd)" = mine ]
    run uv exec a -- ls -A /home; [ "$output" = l ]
    [[ "$(uv exec b -- cat /etc/passwd)" == root:* ]]
    uv exec b -- test -e /etc/group
    [ "$(uv exec a -- stat -c %u:%g /srv/d)" = 33:33 ]
    [ "$(cd "$IMAGES/store/$(id_of busybox)/tree" && find . -printf '%p %u %m %s %l\n' | sort)" = "$before" ]
    away a; away b
}

# bats test_tags=kernel
@test "inside, .. of the root is the root, and no mount of the host's is there" {
    small up; uv start up
    [ "$(uv exec up -- stat -c %i /)" = "$(uv exec up -- stat -c %i /srv/..)" ]
    [ "$(uv exec up -- stat -c %i /)" = "$(uv exec up -- stat -c %i /dev/..)" ]
    run uv exec up -- cat /proc/self/mountinfo
    [[ "$output" != *"$ROOT"* ]]; [[ "$(grep -c ' / overlay \| - overlay ' <<<"$output")" = 1 ]]
    run uv exec up -- ls /..; [[ "$output" != *boot* ]]
    away up
}

# bats test_tags=kernel
@test "Writable=kept outlives stop and start under other user ids; remove keeps it and says so; --purge deletes it" {
    small k; as_system k; uv start k
    uv exec k -- sh -c 'echo kept >/root/f; chown 33 /root/f'
    uv stop k
    small filler; uv start filler k                # takes the range of ids that k had
    [ "$(uv exec k -- cat /root/f)" = kept ]
    [ "$(uv exec k -- stat -c %u /root/f)" = 33 ]
    [ "$(stat -c %u "$WRITABLE/k/upper/root/f")" = 33 ]
    uv stop k
    run uv remove k; [ "$status" = 0 ]; [[ "$output" == *"uvctl remove --purge k"* ]]
    [ -d "$WRITABLE/k" ]
    run uv remove --purge k; [ "$status" = 0 ]
    [ -z "$(find "$WRITABLE" -mindepth 1 -maxdepth 1 -name '*k*')" ]
    run uv remove --purge k; [ "$status" = 4 ]
    away filler
}

# bats test_tags=kernel
@test "Writable=ephemeral begins anew each time, and nothing is left at stop, whoever owned it and however deep it was" {
    small e busybox --writable ephemeral; as_system e; uv start e
    uv exec e -- sh -c 'echo x >/root/f; mkdir -p /srv/a/b; chown 33:7 /srv/a; chmod 0 /srv/a/b; chmod 0 /srv/a
        cd /var/tmp; i=0; while [ $i -lt 300 ]; do mkdir d; cd d; i=$((i+1)); done; touch bottom'
    uv stop e
    [ -z "$(ls -A "$WRITABLE")" ]
    uv start e
    run uv exec e -- test -e /root/f; [ "$status" = 1 ]
    uv stop --force e
    [ -z "$(ls -A "$WRITABLE")" ]
    uv remove -q e
}

@test "an ephemeral layer is removed too when its monitor was killed with it" {
    small ek busybox --writable ephemeral; as_system ek; uv start ek
    uv exec ek -- sh -c 'mkdir /srv/x; chown 33 /srv/x'
    leader=$(field ek Leader); monitor=$(pids_of uv-monitor-lxc)
    kill -9 $monitor "$leader"
    wait_for 10 bash -c '[ -z "$(ls -A "$WRITABLE")" ]'
    uv remove -q ek || { wait_for 5 uv remove -q ek; }
}

# bats test_tags=kernel
@test "a running partition keeps its image when another is built under the name; a new one gets the new" {
    small old; uv start old
    first=$(id_of busybox)
    mkdir -p "$ROOT/src"; busybox_root "$ROOT/src"; echo second >"$ROOT/src/etc/which"
    uv image import busybox "$ROOT/src"
    second=$(id_of busybox); [ "$first" != "$second" ]
    run uv exec old -- test -e /etc/which; [ "$status" = 1 ]
    uv stop old; uv start old                      # what it wrote stands on the first
    run uv exec old -- test -e /etc/which; [ "$status" = 1 ]
    small fresh; uv start fresh
    [ "$(uv exec fresh -- cat /etc/which)" = second ]
    run uv image list; [[ "$output" == *"busybox (replaced)"*old* ]]
    away old; away fresh
    [ "$(ids)" = "$second " ]                      # the replaced one went with its last user
    uv image build busybox
}

@test "remove is refused while a definition names the image, a partition runs from it, or keeps files over it: says which" {
    run uv image remove nosuch; [ "$status" = 4 ]
    uv image import victim "$ROOT/src"
    small user victim; uv start user
    run uv image remove victim; [ "$status" = 6 ]; [[ "$output" == *user* && "$output" == *"try: "* ]]
    uv stop user; uv remove -q user
    run uv image remove victim; [ "$status" = 6 ]; [[ "$output" == *"uvctl remove --purge user"* ]]
    uv remove --purge -q user
    small user victim --writable ephemeral; uv start user
    mv "$ROOT/etc/ultravisor/partitions/user.partition" "$ROOT/hidden"     # by hand, while it runs
    run uv image remove victim; [ "$status" = 6 ]; [[ "$output" == *"uvctl stop user"* ]]
    mv "$ROOT/hidden" "$ROOT/etc/ultravisor/partitions/user.partition"
    uv stop user; uv remove -q user
    uv image remove victim
    [ -z "$(id_of victim)" ]
}

@test "a start from an image that isn't there: three lines with the name; nothing left" {
    small gone; sed -i 's/^Image=.*/Image=absent/' "$ROOT/etc/ultravisor/partitions/gone.partition"; uv apply -y
    run uv plan; [[ "$output" == *"gone  can't start  there is no image absent (uvctl image build absent"* ]]
    uv apply            # asks nobody: it is no change
    run uv why start gone; [ "$status" = 1 ]; [[ "$output" == *"no image absent"*"try: uvctl image build absent"* ]]
    run uv start -n gone; [ "$status" = 1 ]
    n=$(uv history -l 1 -o name)
    run uv start gone; [ "$status" = 1 ]; [ "$(uv history -l 1 -o name)" = "$n" ]; [[ "$output" == *"no image absent"*"uvctl image list"*"try: uvctl image build absent"* ]]
    [ -z "$(ls -A "$WRITABLE")" ]
    uv remove -q gone
}

@test "kept files over another image than Image= says: refused, with the way on" {
    small moved; uv start moved; uv stop moved
    uv image import other "$ROOT/src"
    sed -i 's/^Image=.*/Image=other/' "$ROOT/etc/ultravisor/partitions/moved.partition"; uv apply -y
    run uv start moved; [ "$status" = 1 ]; [[ "$output" == *"Image=busybox"*"Image=other"* ]]
    uv remove --purge -q moved; uv image remove other
}

@test "import: a directory, tar archives of each packing, standard input, file system images: owners, modes and links survive" {
    src=$ROOT/src2; mkdir -p "$src"; busybox_root "$src"
    chown 33:33 "$src/srv"; chmod 2750 "$src/srv"; ln "$src/etc/passwd" "$src/etc/hard"; touch "$src/etc/suid"; chmod 4755 "$src/etc/suid"
    want=$(cd "$src" && find . -mindepth 1 -printf '%p %U:%G %m %l\n' | grep -v lost+found | sort)
    for form in dir tar gz xz zst stdin ext4 erofs squashfs; do
        case $form in
        dir) uv image import f "$src" ;;
        tar) tar -C "$src" -cf "$ROOT/f.tar" .; uv image import f "$ROOT/f.tar" ;;
        gz) gzip -kf "$ROOT/f.tar"; uv image import f "$ROOT/f.tar.gz" ;;
        xz) command -v xz >/dev/null || continue; xz -0kf "$ROOT/f.tar"; uv image import f "$ROOT/f.tar.xz" ;;
        zst) command -v zstd >/dev/null || continue; zstd -qf "$ROOT/f.tar" -o "$ROOT/f.zst"; uv image import f "$ROOT/f.zst" ;;
        stdin) uv image import f - <"$ROOT/f.tar" ;;
        erofs) { command -v mkfs.erofs && grep -qw erofs /proc/filesystems && [ -e /dev/loop-control ]; } >/dev/null || continue
            mkfs.erofs "$ROOT/f.erofs" "$src" >/dev/null; uv image import f "$ROOT/f.erofs" ;;
        squashfs) { command -v mksquashfs && [ -e /dev/loop-control ]; } >/dev/null || continue
            mksquashfs "$src" "$ROOT/f.squashfs" -quiet -no-progress >/dev/null; uv image import f "$ROOT/f.squashfs" ;;
        ext4) [ -e /dev/loop-control ] || continue; mke2fs -q -F -t ext4 -d "$src" "$ROOT/f.ext4" 16M; uv image import f "$ROOT/f.ext4" ;;
        esac
        forms="${forms:-} $form"
        tree=$IMAGES/store/$(id_of f)/tree
        got=$(cd "$tree" && find . -mindepth 1 -printf '%p %U:%G %m %l\n' | grep -v lost+found | sort)
        # What is made for a container is made if it isn't there; what is there keeps its mode.
        [ "$got" = "$want" ] || { echo "$form"; diff <(echo "$want") <(echo "$got"); false; }
        [ "$(stat -c %h "$tree/etc/passwd")" = 2 ]
    done
    ! grep -q "$ROOT/f" /proc/self/mountinfo
    echo "# forms: $forms" >&3
    [ -z "$(losetup -j "$ROOT/f.ext4" 2>/dev/null)" ]
    uv image remove f
}

@test "import: a squashfs image is converted" {
    command -v mksquashfs >/dev/null || skip "mksquashfs (Debian package squashfs-tools) is not installed"
    [ -e /dev/loop-control ] || skip "this machine has no loop devices"
    rm -f "$ROOT/f.squashfs"; mksquashfs "$ROOT/src" "$ROOT/f.squashfs" -quiet -no-progress >/dev/null
    uv image import squashed "$ROOT/f.squashfs"
    small sq squashed --start; [ "$(uv exec sq -- cat /etc/which)" = second ]
    away sq; uv image remove squashed
}

@test "a hostile archive touches nothing outside the image" {
    mkdir -p "$ROOT/canary/deep"; echo safe >"$ROOT/canary/file"; chmod 600 "$ROOT/canary/file"
    before=$(outside)
    command -v python3 >/dev/null || skip "python3, which writes the archives, is not installed"
    python3 - "$ROOT" <<'PY'
import io, sys, tarfile
root = sys.argv[1]
def member(t, name, kind=tarfile.REGTYPE, link="", data=b"owned"):
    m = tarfile.TarInfo(name); m.type = kind; m.linkname = link; m.mode = 0o6777
    if kind == tarfile.REGTYPE: m.size = len(data)
    if kind in (tarfile.CHRTYPE, tarfile.BLKTYPE): m.devmajor, m.devminor = 1, 3
    t.addfile(m, io.BytesIO(data) if kind == tarfile.REGTYPE else None)
def archive(name, *members):
    with tarfile.open(f"{root}/received/{name}.tar", "w") as t:
        member(t, "./bin/sh"); [member(t, *m) for m in members]
S, H, C, B, F = tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE
up = "../" * 20
archive("dotdot", (f"{up}{root}/canary/file",), (f"./bin/{up}{root}/canary/new",))
archive("absolute", (f"{root}/canary/file",))
archive("symlink-file", ("./l", S, f"{root}/canary/file"), ("./l",))
archive("symlink-dir", ("./d", S, f"{root}/canary"), ("./d/file",), ("./d/new",))
archive("symlink-relative", ("./d", S, f"{up}{root}/canary"), ("./d/new",))
archive("symlink-chain", ("./a", S, "/"), ("./b", S, f"a{root}/canary"), ("./b/new",))
archive("hard-link", ("./h", H, f"{root}/canary/file"), ("./h",))
archive("hard-link-up", ("./h", H, f"{up}{root}/canary/file"))
archive("device", ("./srv/null", C), ("./srv/disk", B))
archive("proc", ("./p", S, "/proc/sys/kernel"), ("./p/hostname",))
archive("mount-points", ("./proc", S, f"{root}/canary"), ("./dev", S, f"{root}/canary"), ("./tmp", S, f"{root}/canary"))
PY
    count=0
    for tar in "$RECEIVED"/*.tar; do
        count=$((count + 1))
        name=$(basename "$tar" .tar)
        uv image import "h-$name" "$tar" >"$ROOT/out" 2>&1 || true
        [ "$(outside)" = "$before" ] || { echo "$name"; diff <(echo "$before") <(outside); false; }
        [ -z "$(find "$IMAGES" \( -type b -o -type c \) -print)" ] || { echo "$name: device nodes"; false; }
    done
    [ $count = 11 ]
    # Device nodes are an error, and so is a mount point that is a link; and a link that points outside, kept as
    # it is, leads a container to its own files.
    [ -z "$(id_of h-device)" ]; [ -z "$(id_of h-mount-points)" ]
    [ -z "$(ls -A "$IMAGES" | grep -E '^\.(new|gone)')" ]
    for n in $(uv image list -o name | grep '^h-'); do uv image remove -q "$n"; done
}

@test "what is no image is refused in words, and nothing of it is listed" {
    before=$(ids)
    head -c 5000 /dev/urandom >"$ROOT/noise"; run uv image import x "$ROOT/noise"; [ "$status" = 2 ]; [[ "$output" == *"none of: a directory"* ]]
    mkdir -p "$ROOT/empty"; run uv image import x "$ROOT/empty"; [ "$status" = 1 ]; [[ "$output" == *"root file system"* ]]
    mkdir -p "$ROOT/oci"; touch "$ROOT/oci/oci-layout"; run uv image import x "$ROOT/oci"; [ "$status" = 1 ]; [[ "$output" == *"docker export"* ]]
    head -c 20000 "$ROOT/f.tar" >"$ROOT/cut.tar"; run uv image import x "$ROOT/cut.tar"; [ "$status" = 1 ]
    run uv image import x "$ROOT/nowhere"; [ "$status" = 4 ]
    run uv image import ../x "$ROOT/src"; [ "$status" = 2 ]
    run uv image build nosuch; [ "$status" = 4 ]; [[ "$output" == *busybox*debian-12* ]]
    [ "$(ids)" = "$before" ]
    [ -z "$(id_of x)" ]
}

@test "killed at any moment, an import leaves nothing that is listed, and the next one sweeps" {
    before=$(uv image list -o name)
    mkdir -p "$ROOT/big"; busybox_root "$ROOT/big"; head -c 60000000 /dev/zero >"$ROOT/big/srv/zero"; tar -C "$ROOT/big" -cf "$ROOT/big.tar" .
    for ms in 5 20 50 100 200; do
        "$ULV_BIN/uvctl" --root "$ROOT" image import big "$ROOT/big.tar" >/dev/null 2>&1 3>&- & pid=$!
        sleep 0.$(printf %03d $ms); kill -9 $pid 2>/dev/null || true; wait $pid 2>/dev/null || true
        run uv image list -o name
        # Either it isn't there, or all of it is.
        if [[ "$output" == *big* ]]; then [ "$(stat -c %s "$IMAGES/store/$(id_of big)/tree/srv/zero")" = 60000000 ]; fi
    done
    sleep 0.3                                      # tar dies with uvctl; its last write may take a moment
    uv image import big "$ROOT/big.tar"
    [ -z "$(ls -A "$IMAGES" | grep -E '^\.(new|gone)')" ]
    uv image remove big
    [ "$(uv image list -o name)" = "$before" ]
}

@test "interrupted by Ctrl-C, it says so and cleans up at once" {
    mkfifo "$ROOT/never"
    setsid bash -c '"$ULV_BIN/uvctl" --root "$ROOT" image import slow - <>"$ROOT/never" >"$ROOT/out" 2>&1' 3>&- & pid=$!
    wait_for 5 bash -c 'ls -A "$IMAGES" | grep -q "^.new-"'
    pkill -INT -s "$pid" -x uvctl
    wait $pid || true
    grep -q "interrupted: nothing was changed" "$ROOT/out"
    [ -z "$(ls -A "$IMAGES" | grep -E '^\.(new|gone)')" ]
}

# bats test_tags=kernel
@test "Image=host: the host's /usr read-only, an /etc of its own, nothing of the host's" {
    run uv image build host; [ "$status" = 0 ] || skip "the host's /usr isn't merged"
    small h host --writable ephemeral --start
    [ "$(uv exec h -- readlink -f /bin/sh)" = "$(readlink -f /bin/sh)" ]
    [ "$(uv exec h -- bash -c 'echo $((6 * 7))')" = 42 ]
    run uv exec h -- touch /usr/bin/x; [ "$status" != 0 ]; [ ! -e /usr/bin/x ]
    uv exec h -- touch /etc/x
    run uv exec h -- cat /etc/shadow; [ "$status" != 0 ]
    [ "$(uv exec h -- stat -c %u /usr/bin/env)" = 0 ]
    away h; uv image remove host
}

@test "Template=: keys are inherited, the definition wins, and one change reaches all that name it" {
    mkdir -p "$ROOT/etc/ultravisor/templates"
    printf '[Partition]\nType=container\nStopTimeout=7s\n\n[CPU]\nShare=0.1\n\n[Memory]\nSize=64M\n\n[Container]\nImage=busybox\nWritable=ephemeral\nExec=sleep infinity\nEnvironment=A=template\n' >"$ROOT/etc/ultravisor/templates/front.partition"
    uv new f1 --template front -q
    uv new f2 --template front --memory 96M -q -- sh -c 'echo "A is $A"; sleep 1000'
    uv verify; uv verify "$ROOT/etc/ultravisor/partitions/f1.partition"
    uv start f1 f2
    [ "$(field f1 MemoryWanted)" = $((64 << 20)) ]; [ "$(field f2 MemoryWanted)" = $((96 << 20)) ]
    run uv exec f2 -- ps; [[ "$output" == *"sleep 1000"* ]]
    wait_for 5 bash -c '"$ULV_BIN/uvctl" --root "$ROOT" logs f2 | grep -q "A is template"'
    sed -i 's/^Size=64M/Size=80M/' "$ROOT/etc/ultravisor/templates/front.partition"
    uv apply -y
    [ "$(field f1 MemoryWanted)" = $((80 << 20)) ]; [ "$(field f2 MemoryWanted)" = $((96 << 20)) ]
    sed -i 's/^Share=.*/Share=many/' "$ROOT/etc/ultravisor/templates/front.partition"
    run uv verify; [ "$status" = 1 ]; [[ "$output" == *"templates/front.partition:6:7: Share=many"* ]]; [ "$(grep -c many <<<"$output")" = 1 ]
    run uv reload; [ "$status" != 0 ]
    [ "$(field f1 State)" = running ]
    sed -i 's/^Share=.*/Share=0.1/' "$ROOT/etc/ultravisor/templates/front.partition"; uv reload
    uv stop f1 f2; uv remove -q f1 f2
}

@test "a Debian image: built by mmdebstrap, shell, packages' data base" {
    [ -n "${ULV_SLOW_IMAGES:-}${LONG:-}" ] || skip "40 s and the network (LONG=1 runs it)"
    command -v mmdebstrap >/dev/null || skip "mmdebstrap is not installed"
    uv image build debian-12 || skip "a Debian image can't be built here (network?)"
    small deb debian-12 --memory 256M --start
    [[ "$(uv exec deb -- cat /etc/debian_version)" == 12* ]]
    uv exec deb -- bash -c 'dpkg -l systemd-sysv | grep -q ^ii'
    uv exec deb -- bash -c 'useradd -m joe && su joe -c "id -un"' | grep -qx joe
    away deb; uv image remove debian-12
}
