#compdef uvctl
# SPDX-License-Identifier: LGPL-2.1-or-later
# zsh completion for uvctl. As the one for bash: verbs and options come from `uvctl --help=verbs`, names from `uvctl list`.

_uvctl() {
        local -a table verbs lines options root amounts
        local verb word i

        table=(${(f)"$(uvctl --help=verbs 2>/dev/null)"})
        verbs=(${table%% *})
        for ((i = 2; i < CURRENT; i++)); do
                word=$words[i]
                case $word in
                --root) root=(--root $words[i+1]) ;;
                --root=*) root=($word) ;;
                esac
                # The verb is the first word that is one.
                [[ -n $verb ]] || (( ! $verbs[(Ie)$word] )) || verb=$word
        done

        case $words[CURRENT-1] in
        -o | --output) compadd -- table wide json ${${(M)verb:#(|list|history|image)}:+name} ${${(M)verb:#check}:+nagios} ; return ;;
        --image) compadd -- busybox debian-12 debian-13 host ${(f)"$(uvctl $root image list -o name 2>/dev/null)"}; return ;;
        --type) compadd -- container vm; return ;;
        --accel) compadd -- kvm tcg; return ;;
        --disk | --kernel | --initrd) _files; return ;;
        --writable) compadd -- kept ephemeral; return ;;
        -H | --host) _hosts; return ;;
        --root | --chdir) _files -/; return ;;
        -s | --signal) compadd -- HUP INT QUIT KILL USR1 USR2 TERM CONT STOP; return ;;
        esac

        if [[ $words[CURRENT] == -* ]]; then
                lines=($table)
                [[ -z $verb ]] || lines=(${(M)table:#$verb *})
                options=(${(uM)${=lines}:#--*})
                compadd -- ${options:#*=}
                compadd -S '' -- ${(M)options:#*=}
                return
        fi

        amounts=(cores= share= memory= tasks= io-read= io-write= iops-read= iops-write=)
        case $verb in
        '') compadd -- $verbs ;;
        apply | plan | verify | backup | restore) _files ;;
        image) compadd -- build import list remove busybox debian-12 debian-13 host; _files ;;
        channel) compadd -- list show stat cat perf; compadd -- ${(f)"$(uvctl $root channel list --no-legend 2>/dev/null | cut -d" " -f1)"}; _uvctl_names ;;
        credential) compadd -- encrypt rotate; _uvctl_names; _files ;;
        why) compadd -- start stop pause resume set move remove; _uvctl_names; compadd -S '' -- $amounts ;;
        set | move) _uvctl_names; compadd -S '' -- $amounts ;;
        attach) _uvctl_names; compadd -S '' -- mount= device=/dev/ disk= ;;
        copy) compadd -S '' -- ${(f)^"$(uvctl $root list -o name 2>/dev/null)"}:; _files ;;
        undo) compadd -- ${(f)"$(uvctl $root history -o name 2>/dev/null)"} ;;
        import) compadd -S '' -- libvirt: ;;
        new | resources | graph | reload | version) ;;
        *) _uvctl_names ;;
        esac
}

_uvctl_names() { compadd -- ${(f)"$(uvctl $root list -o name 2>/dev/null)"}; }

# Autoloaded, this file is the function's body; sourced, it only defines it.
[[ $funcstack[1] != _uvctl ]] || _uvctl "$@"
