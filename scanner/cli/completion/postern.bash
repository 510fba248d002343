# SPDX-License-Identifier: GPL-2.0-only
# shellcheck shell=bash
# Completion of postern(1) for bash. Commands and options are asked from the program itself, so
# they are never out of date.

# Commands or options of `postern WORDS... --help`, one a line.
_postern_words() { # commands|options WORDS...
    local kind=$1
    shift
    if [ "$kind" = commands ]; then
        "$_postern_program" "$@" --help 2>/dev/null |
            awk '/^Commands:/ {on = 1; next} !NF {on = 0} on {print $1}'
    else
        "$_postern_program" "$@" --help 2>/dev/null |
            awk '/^ +-/ {for (i = 1; i <= 2; i++) if ($i ~ /^--/) {sub(/=.*/, "", $i); print $i}}'
    fi
}

_postern() {
    local cur=${COMP_WORDS[COMP_CWORD]} before=${COMP_WORDS[COMP_CWORD - 1]}
    [ "$cur" != = ] || cur=
    [ "$before" != = ] || before=${COMP_WORDS[COMP_CWORD - 2]}
    local _postern_program=${COMP_WORDS[0]} words=() instance=() word commands
    local -i i
    COMPREPLY=()
    case $before in
    --config | -c | --log | -l | --report | -r)
        mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        [ "$before" = --log ] || [ "$before" = -l ] &&
            mapfile -t -O "${#COMPREPLY[@]}" COMPREPLY < <(compgen -W journal -- "$cur")
        return
        ;;
    --to | --node)
        mapfile -t COMPREPLY < <(compgen -W "$(crm_node -l 2>/dev/null | awk '{print $2}')" -- "$cur")
        return
        ;;
    --dir | --postfix-config)
        mapfile -t COMPREPLY < <(compgen -d -- "$cur")
        return
        ;;
    esac
    # What stands before the cursor is the command as far as the program knows such commands.
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        case $word in
        --config | -c | --dir) # `--dir=DIR` is three words here
            i+=1
            [ "${COMP_WORDS[i]}" != = ] || i+=1
            [ "$i" -ge "$COMP_CWORD" ] || instance=("$word" "${COMP_WORDS[i]/#\~/$HOME}")
            ;;
        -*) ;;
        help) ;;
        *)
            commands=$(_postern_words commands "${words[@]}")
            grep -qxF -- "$word" <<<"$commands" || break
            words+=("$word")
            ;;
        esac
    done
    case $cur in
    -*) commands=$(_postern_words options "${words[@]}") ;;
    *) commands=$(_postern_words commands "${words[@]}") ;;
    esac
    case "${words[*]}" in
    doctor) [[ $cur = -* ]] || commands="postfix state host cluster" ;;
    "signatures show" | "signatures pin" | "signatures reject" | "signatures adopt")
        [[ $cur = -* ]] || commands="current previous pinned $("$_postern_program" "${instance[@]}" \
            signatures list 2>/dev/null | awk 'NR > 1 {print $1}')"
        ;;
    esac
    mapfile -t COMPREPLY < <(compgen -W "$commands" -- "$cur")
    case "${words[*]}" in
    scan | "config check" | "signatures add")
        [[ $cur = -* ]] || mapfile -t COMPREPLY < <(compgen -f -- "$cur")
        ;;
    esac
}

complete -o filenames -F _postern postern
