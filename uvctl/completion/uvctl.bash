# SPDX-License-Identifier: LGPL-2.1-or-later
# bash completion for uvctl. Verbs and options come from `uvctl --help=verbs`, names from `uvctl list`, so
# that nothing here can be out of date.

_uvctl_names() {
        local root=()
        local i
        for ((i = 1; i < COMP_CWORD; i++)); do
                case ${COMP_WORDS[i]} in
                --root) root=(--root "${COMP_WORDS[i + 1]#=}") ;;
                --root=*) root=("${COMP_WORDS[i]}") ;;
                -H | --host) return ;;          # what is there isn't worth a connection at each tab
                esac
        done
        uvctl "${root[@]}" list -o name 2>/dev/null
}

_uvctl() {
        local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD - 1]} verb='' word options names='' i
        local table
        table=$(uvctl --help=verbs 2>/dev/null) || return

        # The verb is the first word that is one.
        for ((i = 1; i < COMP_CWORD; i++)); do
                word=${COMP_WORDS[i]}
                if [[ $word != -* ]] && grep -q "^$word " <<<"$table"; then
                        verb=$word
                        break
                fi
        done

        case $prev in
        -o | --output)
                case $verb in
                '' | list | history | image) names=name ;;      # the others don't answer with names
                check) names=nagios ;;
                esac
                mapfile -t COMPREPLY < <(compgen -W "table wide json $names" -- "$cur")
                return
                ;;
        --image) mapfile -t COMPREPLY < <(compgen -W "busybox debian-12 debian-13 host $(uvctl image list -o name 2>/dev/null)" -- "$cur"); return ;;
        --type) mapfile -t COMPREPLY < <(compgen -W 'container vm' -- "$cur"); return ;;
        --accel) mapfile -t COMPREPLY < <(compgen -W 'kvm tcg' -- "$cur"); return ;;
        --disk | --kernel | --initrd) mapfile -t COMPREPLY < <(compgen -f -- "$cur"); return ;;
        --writable) mapfile -t COMPREPLY < <(compgen -W 'kept ephemeral' -- "$cur"); return ;;
        -H | --host) mapfile -t COMPREPLY < <(compgen -A hostname -- "$cur"); return ;;
        --root | --chdir) mapfile -t COMPREPLY < <(compgen -d -- "$cur"); return ;;
        -s | --signal) mapfile -t COMPREPLY < <(compgen -W 'HUP INT QUIT KILL USR1 USR2 TERM CONT STOP' -- "$cur"); return ;;
        esac

        if [[ $cur == -* ]]; then
                options=$(if [[ $verb ]]; then grep "^$verb " <<<"$table"; else cat <<<"$table"; fi | tr ' ' '\n' | grep '^--' | sort -u)
                mapfile -t COMPREPLY < <(compgen -W "$options" -- "$cur")
                [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
                return
        fi

        case $verb in
        '') mapfile -t COMPREPLY < <(compgen -W "$(cut -d' ' -f1 <<<"$table")" -- "$cur") ;;
        apply | plan | verify | backup | restore) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
        why)
                if ((COMP_CWORD == i + 1)); then
                        mapfile -t COMPREPLY < <(compgen -W 'start stop pause resume set move attach detach remove' -- "$cur")
                else
                        names=$(_uvctl_names)
                        mapfile -t COMPREPLY < <(compgen -W "$names cores= share= memory= tasks= io-read= io-write= iops-read= iops-write=" -- "$cur")
                fi
                ;;
        channel)
                if ((COMP_CWORD == i + 1)); then
                        mapfile -t COMPREPLY < <(compgen -W 'list show stat cat perf' -- "$cur")
                elif [ "${COMP_WORDS[i + 1]}" = list ]; then
                        mapfile -t COMPREPLY < <(compgen -W "$(_uvctl_names)" -- "$cur")
                else
                        mapfile -t COMPREPLY < <(compgen -W "$(uvctl channel list --no-legend 2>/dev/null | awk '{ n[$1]++; at[NR] = $1 "@" $2; l[NR] = $1 } END { for (i in l) print n[l[i]] > 1 ? at[i] : l[i] }')" -- "$cur")
                fi
                ;;
        credential)
                if ((COMP_CWORD == i + 1)); then
                        mapfile -t COMPREPLY < <(compgen -W 'encrypt rotate' -- "$cur")
                elif [ "${COMP_WORDS[i + 1]}" = rotate ] && ((COMP_CWORD == i + 2)); then
                        mapfile -t COMPREPLY < <(compgen -W "$(uvctl list -a -o name 2>/dev/null)" -- "$cur")
                else
                        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
                fi
                ;;
        image)
                if ((COMP_CWORD == i + 1)); then
                        mapfile -t COMPREPLY < <(compgen -W 'build import list remove' -- "$cur")
                else
                        case ${COMP_WORDS[i + 1]} in
                        build) mapfile -t COMPREPLY < <(compgen -W 'busybox debian-12 debian-13 host' -- "$cur") ;;
                        remove) mapfile -t COMPREPLY < <(compgen -W "$(uvctl image list -o name 2>/dev/null)" -- "$cur") ;;
                        import) mapfile -t COMPREPLY < <(compgen -f -- "$cur") ;;
                        esac
                fi
                ;;
        attach)
                names=$(_uvctl_names)
                mapfile -t COMPREPLY < <(compgen -W "$names mount= device=/dev/ disk=" -- "$cur")
                [[ ${COMPREPLY[0]-} == *[=/] ]] && compopt -o nospace
                ;;
        new | import) ;;
        set | move)
                names=$(_uvctl_names)
                mapfile -t COMPREPLY < <(compgen -W "$names cores= share= memory= tasks= io-read= io-write= iops-read= iops-write=" -- "$cur")
                [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
                ;;
        exec)
                if ((COMP_CWORD == i + 1)); then
                        names=$(_uvctl_names)
                        mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
                fi
                ;;
        copy)
                # The colon parts words: behind it the name is complete, and the path is the partition's to know.
                names=$(_uvctl_names)
                mapfile -t COMPREPLY < <(compgen -W "${names//$'\n'/: }${names:+:}" -- "$cur"; compgen -f -- "$cur")
                [[ ${COMPREPLY[0]-} == *: ]] && compopt -o nospace
                ;;
        undo) mapfile -t COMPREPLY < <(compgen -W "$(uvctl history -o name 2>/dev/null)" -- "$cur") ;;
        resources | graph | reload | version) ;;
        *)
                names=$(_uvctl_names)
                mapfile -t COMPREPLY < <(compgen -W "$names" -- "$cur")
                ;;
        esac
}

complete -F _uvctl uvctl
