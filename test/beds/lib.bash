# SPDX-License-Identifier: LGPL-2.1-or-later
# shellcheck shell=bash disable=SC2034
#
# What the test beds (vm.sh, nspawn.sh) share: the Debian tree, the payload file, and the wait for the end.
#
# A bed is a Debian 12 with systemd as PID 1 and agent.sh as one of its services. Host and agent speak through
# three files; only where these are differs (virtio disk and ports in the VM, a bind mount in the container):
#
#   payload   host -> agent   64 KiB of shell text (BED_NOW, BED_SEED, BED_COMMAND), then a tar; see bed_payload
#   out       agent -> host   what the command prints, byte for byte
#   ctl       agent -> host   lines: "ready STATE" (booted, only when it waits for a payload), "exit N"
#
# Everything built lies in $ULV_BED_CACHE (default <repo>/build/beds) in folders named by the hash of their
# recipe, that is of the files here that make them. A build goes to NAME.new and is renamed when it is whole.

BED_SUITE=bookworm
BED_PACKAGES=(
        systemd systemd-sysv dbus polkitd udev kmod         # the system proper
        libsystemd0 libsqlite3-0 libcap2 libseccomp2 libmicrohttpd12 libvirt0        # what our programs are linked to
        libnl-3-200 libnl-route-3-200 libnl-genl-3-200
        liburing2 libcurl4 libjansson4 libcmocka0
        iproute2 iputils-ping procps psmisc util-linux      # what tests call
        e2fsprogs busybox-static make bats strace sqlite3 jq
)
BED_HEAD_BYTES=65536

bed_dir=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd)
bed_cache=${ULV_BED_CACHE:-$(cd -- "$bed_dir/../.." && pwd)/build/beds}

# Progress goes to stderr: stdout belongs to the payload.
bed_say() { printf 'bed: %s\n' "$*" >&2; }
bed_skip() { printf 'SKIP: %s\n' "$*" >&2; exit 77; }
bed_die() { printf 'bed: FAILED: %s\n' "$*" >&2; exit 125; }

# bed_need PROGRAM PACKAGE: installs the package if the program isn't there.
bed_need() {
        command -v "$1" >/dev/null && return
        ((EUID == 0)) || bed_skip "$1 (Debian package $2), and only root can install it"
        bed_say "installing $2"
        bed_apt install -y --no-install-recommends "$2" >/dev/null 2>&1 || bed_skip "$1: Debian package $2 can't be had"
        command -v "$1" >/dev/null || bed_skip "$1: not in Debian package $2"
}

# bed_apt ARGS...: apt-get; fetches the lists and tries again where they are missing or old.
bed_apt() {
        DEBIAN_FRONTEND=noninteractive apt-get -q "$@" ||
                { apt-get -q update && DEBIAN_FRONTEND=noninteractive apt-get -q "$@"; }
}

# bed_hash FILE...: names a recipe. The words in BED_EXTRA count too.
bed_hash() { { cat -- "$@"; printf '%s\n' "${BED_EXTRA:-}"; } | sha256sum | cut -c1-12; }

# bed_lock MODE (-s or -x): one lock for the whole cache. A run holds it shared, so that nothing that it uses
# is removed; a build holds it alone. The open file stays open in our children, QEMU included, on purpose.
bed_lock() {
        if [[ -z ${bed_lock_fd:-} ]]; then
                mkdir -p "$bed_cache"
                exec {bed_lock_fd}>"$bed_cache/lock"
        fi
        flock "$1" "$bed_lock_fd"
}

# bed_forget PREFIX NAME: removes what older recipes left.
bed_forget() {
        local old
        for old in "$bed_cache/$1"-*; do
                [[ $old == "$bed_cache/$2" ]] || rm -rf -- "$old"
        done
}

# bed_tree_ready: says where the Debian tree is, in $bed_tree, and whether it is.
bed_tree_ready() {
        bed_tree=$bed_cache/tree-$(BED_EXTRA='' bed_hash "$bed_dir/lib.bash" "$bed_dir/agent.sh")
        [[ -d $bed_tree ]]
}

# bed_tree: makes it. Under the exclusive lock.
bed_tree() {
        bed_tree_ready && return
        local new=$bed_tree.new
        ((EUID == 0)) || bed_skip "root (to build a Debian tree)"
        bed_need mmdebstrap mmdebstrap
        bed_say "Debian tree by mmdebstrap (half a minute)"
        rm -rf -- "$new"
        mmdebstrap --quiet --mode=root --variant=minbase --include="$(IFS=,; echo "${BED_PACKAGES[*]}")" \
                --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
                --dpkgopt='path-exclude=/usr/share/doc/*' "$BED_SUITE" "$new" >"$bed_cache/mmdebstrap.log" 2>&1 ||
                { tail -n 5 "$bed_cache/mmdebstrap.log" >&2; bed_skip "a Debian tree (mmdebstrap failed, see above)"; }
        bed_tree_settings "$new"
        mv -- "$new" "$bed_tree"
        bed_forget tree "${bed_tree##*/}"
}

# No login prompts, no timers, no disk journal: nothing runs in a bed that the payload didn't start.
bed_tree_settings() {
        local root=$1 unit
        echo bed >"$root/etc/hostname"
        printf '127.0.0.1 localhost bed\n' >"$root/etc/hosts"
        echo 0123456789abcdef0123456789abcdef >"$root/etc/machine-id"
        : >"$root/etc/fstab"
        mkdir -p "$root/etc/systemd/journald.conf.d" "$root/payload"
        printf '[Journal]\nStorage=volatile\nRuntimeMaxUse=64M\nRateLimitBurst=0\n' \
                >"$root/etc/systemd/journald.conf.d/bed.conf"
        for unit in getty.target getty@.service serial-getty@.service console-getty.service \
                apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer fstrim.timer e2scrub_all.timer \
                systemd-tmpfiles-clean.timer e2scrub_reap.service systemd-networkd-wait-online.service; do
                ln -sfn /dev/null "$root/etc/systemd/system/$unit"
        done
        install -m 755 "$bed_dir/agent.sh" "$root/usr/local/sbin/bed-agent"
        cat >"$root/etc/systemd/system/bed-agent.service" <<-'UNIT'
		[Unit]
		Description=Runs the payload of a test bed
		[Service]
		ExecStart=/usr/local/sbin/bed-agent
		Environment=HOME=/root LANG=C.UTF-8 TERM=dumb
		WorkingDirectory=/root
		IgnoreSIGPIPE=no
		OOMPolicy=continue
		OOMScoreAdjust=-900
		TasksMax=infinity
		LimitNOFILE=1024:524288
	UNIT
        mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
        ln -sfn ../bed-agent.service "$root/etc/systemd/system/multi-user.target.wants/bed-agent.service"
}

# bed_payload FILE DIR [COMMAND...]: writes what the agent reads.
bed_payload() {
        local file=$1 dir=$2
        shift 2
        (($# > 0)) || set -- ./run.sh
        {
                printf 'BED_NOW=%s BED_SEED=%s\n' "$(date +%s)" "$(od -An -N16 -tx8 /dev/urandom | tr -d ' ')"
                printf 'BED_COMMAND=('
                printf ' %q' "$@"
                printf ' )\n'
        } >"$file"
        (($(stat -c %s "$file") < BED_HEAD_BYTES)) || bed_die "the command is longer than 64 KiB"
        truncate -s "$BED_HEAD_BYTES" "$file"
        tar --owner=0 --group=0 --numeric-owner -C "$dir" -cf - . >>"$file" || bed_die "can't pack $dir"
}

# bed_begin: a folder for this run in $bed_run, removed at any exit, with the processes in bed_pids that we started.
bed_begin() {
        bed_pids=()
        bed_run=$(mktemp -d "${TMPDIR:-/tmp}/ulv-bed.XXXXXX")
        trap bed_end EXIT
        trap 'exit 129' HUP
        trap 'exit 130' INT
        trap 'exit 143' TERM
        mkfifo "$bed_run/out" "$bed_run/ctl"
        exec {bed_ctl}<>"$bed_run/ctl"          # read-write: opening waits for nobody, and there is never an end of file
}

bed_end() {
        local status=$?
        trap '' HUP INT TERM
        if ((${#bed_pids[@]} > 0)); then
                kill -KILL "${bed_pids[@]}" 2>/dev/null || true
                wait "${bed_pids[@]}" 2>/dev/null || true
        fi
        [[ -z ${bed_cgroup:-} ]] || bed_cgroup_remove
        rm -rf -- "$bed_run"
        exit "$status"
}

# bed_cgroup_remove: the folder $bed_cgroup; its processes may need a moment to be gone.
bed_cgroup_remove() {
        local i
        for ((i = 0; i < 50; i++)); do
                find "$bed_cgroup" -depth -type d -exec rmdir {} + 2>/dev/null && return 0   # in a trap, a bare return is not 0
                sleep 0.1
        done
        bed_say "$bed_cgroup is left over"
}

# bed_expect WORD SECONDS: waits for the agent's line "WORD VALUE"; the value is in $bed_value.
# Returns 1 when one of bed_pids ended without it, 2 when time is up. The output may end some time before its line comes.
bed_expect() {
        local word=$1 end=$((SECONDS + $2)) got pid gone=0
        while ((SECONDS < end)); do
                if read -r -t 1 -u "$bed_ctl" got bed_value; then
                        [[ $got == "$word" ]] && return 0
                        continue
                fi
                for pid in "${bed_pids[@]}"; do
                        kill -0 "$pid" 2>/dev/null || gone=$((gone + 1))
                done
                ((gone < 5)) || return 1
        done
        return 2
}

# bed_finish PID SECONDS: the wait of a run for the command's end; PID is the machine. Never returns, but on the
# machine's unexpected end. $bed_copy is the process that copies the output.
bed_finish() {
        local status=0
        bed_expect exit "$2" || status=$?
        if ((status == 2)); then
                bed_say "time is up ($2 s)"
                exit 124
        elif ((status == 1)); then
                kill -0 "$bed_copy" 2>/dev/null || bed_die "nobody reads the output any more"
                return
        fi
        kill -KILL "$1" 2>/dev/null || true     # what the command printed has already left it
        wait "$1" 2>/dev/null || true
        wait "$bed_copy" 2>/dev/null || true
        [[ $bed_value =~ ^[0-9]+$ ]] || bed_die "the agent said 'exit $bed_value'"
        exit "$bed_value"
}

# bed_copy: passes on what the command prints; must run before the machine opens its end.
bed_copy() {
        cat "$bed_run/out" &
        bed_copy=$!
        bed_pids+=("$bed_copy")
}

# bed_main MAKE RUN ARGS...: the command line of both beds; MAKE and RUN are functions.
bed_main() {
        local make=$1 run=$2 timeout=300 dir
        shift 2
        case ${1:-} in
        make)
                (($# == 1)) || bed_usage
                "$make"
                ;;
        run)
                shift
                if [[ ${1:-} == -t ]]; then
                        [[ ${2:-} =~ ^[1-9][0-9]*$ ]] || bed_usage
                        timeout=$2
                        shift 2
                fi
                (($# >= 1)) || bed_usage
                dir=$1
                shift
                if (($# > 0)); then
                        [[ $1 == -- ]] || bed_usage
                        shift
                fi
                [[ -d $dir ]] || bed_die "$dir is not a directory"
                "$make"
                "$run" "$timeout" "$dir" "$@"
                ;;
        *)
                bed_usage
                ;;
        esac
}

bed_usage() {
        printf 'usage: %s make | run [-t SECONDS] PAYLOAD_DIR [-- COMMAND...]\n' "${0##*/}" >&2
        exit 125
}
