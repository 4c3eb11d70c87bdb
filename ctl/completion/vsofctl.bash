# Bash completion of vsofctl. Source it, or put it into /usr/share/bash-completion/completions as vsofctl.
#
# Commands, options, bridges, ports, and the words of mod-port and set-frags. What the programs know is asked from
# them. A daemon that does not answer within a second completes nothing, silently.

_vsofctl_ports() {
    vsctl "${where[@]}" --timeout=1 list-ports "${words[1]}" 2>/dev/null
    printf 'LOCAL\n'
}

_vsofctl_candidates() {
    local verb=${words[0]}
    case ${#words[@]}:$verb in
        0:*) vsofctl --commands 2>/dev/null ;;
        1:*) vsctl "${where[@]}" --timeout=1 list-br 2>/dev/null ;;
        2:mod-port | 2:dump-ports | 2:dump-ports-desc) _vsofctl_ports ;;
        2:set-frags) printf '%s\n' normal drop reassemble ;;
        2:add-flows) compgen -f -- "$cur" ;;
        3:mod-port) printf '%s\n' up down {,no-}receive {,no-}forward {,no-}packet-in ;;
    esac
}

_vsofctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} word value='' i
    local -a words=() where=()
    COMPREPLY=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $value ]]; then
            # bash splits --option=value at the equals sign
            [[ $word == = ]] && continue
            [[ $value == --db || $value == --state ]] && where=("$value=$word")
            value=''
        elif [[ $word == -[OtfFPpcC] ]]; then
            value=$word
        elif [[ $word == --* && ${COMP_WORDS[i + 1]} == = ]]; then
            value=$word
        elif [[ $word != -* ]]; then
            words+=("$word")
        fi
    done
    case $previous in
        -f) COMPREPLY=($(compgen -W "text json" -- "$cur")) && return ;;
        -O) COMPREPLY=($(compgen -W "OpenFlow13" -- "$cur")) && return ;;
        -[pcC]) COMPREPLY=($(compgen -f -- "$cur")) && return ;;
    esac
    if [[ $cur == -* ]]; then
        COMPREPLY=($(compgen -W "$(vsofctl --options 2>/dev/null)" -- "$cur"))
    else
        COMPREPLY=($(compgen -W "$(_vsofctl_candidates)" -- "$cur"))
    fi
}

complete -F _vsofctl vsofctl
