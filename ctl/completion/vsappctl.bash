# Bash completion for vsappctl. Source it, or put it into /usr/share/bash-completion/completions. The daemon is asked
# what it knows; one that does not answer within a second completes nothing, silently.

_vsappctl() {
    local current=${COMP_WORDS[COMP_CWORD]} i word skip= command= ask=(vsappctl -T 1) words
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $skip ]]; then
            [[ $skip == -t ]] && ask+=(-t "$word")
            skip=
        elif [[ -n $command ]]; then
            :
        elif [[ $word == -t || $word == -T || $word == -f ]]; then
            skip=$word
        elif [[ $word != -* && $word != = ]]; then
            command=$word
        fi
    done
    if [[ ${COMP_WORDS[COMP_CWORD - 1]} == -f ]]; then
        words="text json"
    elif [[ $current == -* && -z $command ]]; then
        words="--target --timeout --format --pretty --help --version"
    else
        case $command in
            '') words=$("${ask[@]}" list-commands 2>/dev/null | awk 'NR > 1 { print $1 }') ;;
            fdb/*) words=$("${ask[@]}" ofproto/list 2>/dev/null) ;;
            doctor | drops | qos/show) words=$("${ask[@]}" dpif/show 2>/dev/null | awk '/^    / { print $1 }') ;;
            vlog/set) words=$("${ask[@]}" vlog/list 2>/dev/null | awk 'NR > 2 { print $1 }') ;;
            *) words="" ;;
        esac
    fi
    mapfile -t COMPREPLY < <(compgen -W "$words" -- "$current")
}
complete -F _vsappctl vsappctl
