# Bash completion for the switch's programs. Source it, or put it into /usr/share/bash-completion/completions.
#
# vsctl: verbs, options, tables, columns, and the names of the bridges, ports and interfaces that there are. What the
# programs know is asked from them, so that nothing is listed twice. A daemon that does not answer within a second
# completes nothing, silently.

# The words up to the cursor split at "--": sets verb, argument (number of the word behind the verb) and arguments.
_vsctl_parse() {
    local i word skip=
    verb='' argument=0 arguments=()
    for ((i = 1; i < COMP_CWORD; i++)); do
        word=${COMP_WORDS[i]}
        if [[ -n $skip ]]; then
            skip=
        elif [[ $word == -- ]]; then
            verb='' argument=0 arguments=()
        elif [[ -n $verb ]]; then
            arguments+=("$word")
        elif [[ $word == -t || $word == -f || $word == -d ]]; then
            skip=1
        elif [[ $word == = ]]; then
            skip=1 # bash splits --option=value at the equals sign
        elif [[ $word != -* ]]; then
            verb=$word
        fi
    done
    argument=${#arguments[@]}
}

# Names of rows: _vsctl_names TABLE
_vsctl_names() {
    vsctl "${_vsctl_where[@]}" --timeout=1 --bare --columns=name list "$1" 2>/dev/null | grep -v '^$'
}

# The columns of a table are the headings of its list.
_vsctl_columns() {
    vsctl "${_vsctl_where[@]}" --timeout=1 --format=csv list "$1" 2>/dev/null | head -n 1 | tr ',' '\n'
}

_vsctl_tables="Bridge Port Interface Controller Open_vSwitch QoS Queue Mirror SSL Manager NetFlow sFlow IPFIX \
Flow_Table Flow_Sample_Collector_Set"

_vsctl_candidates() {
    local verb_and_argument="$verb:$argument"
    case $verb_and_argument in
        :*) vsctl --commands 2>/dev/null | sed 's/.*,//' ;;
        del-port:0) _vsctl_names Bridge && _vsctl_names Port ;;
        del-port:1 | port-to-br:0) _vsctl_names Port ;;
        iface-to-br:0) _vsctl_names Interface ;;
        set-fail-mode:1) printf '%s\n' standalone secure ;;
        add-br:1) _vsctl_names Bridge ;;
        add-br:0 | set-ssl:* | comment:* | set-manager:*) ;;
        list:0 | find:0 | get:0 | set:0 | add:0 | remove:0 | clear:0 | create:0 | destroy:0 | wait-until:0)
            printf '%s\n' $_vsctl_tables ;;
        find:* | create:*) _vsctl_columns "${arguments[0]}" ;;
        list:* | destroy:*) _vsctl_names "${arguments[0]}" ;;
        get:1 | set:1 | add:1 | remove:1 | clear:1 | wait-until:1) _vsctl_names "${arguments[0]}" ;;
        get:* | set:* | clear:* | wait-until:*) _vsctl_columns "${arguments[0]}" ;;
        add:2 | remove:2) _vsctl_columns "${arguments[0]}" ;;
        *:0) _vsctl_names Bridge ;;
        add-port:1) _vsctl_names Interface ;;
        add-port:*) _vsctl_columns Port ;;
    esac
}

_vsctl() {
    local cur=${COMP_WORDS[COMP_CWORD]} previous=${COMP_WORDS[COMP_CWORD - 1]} verb argument
    local -a arguments _vsctl_where=()
    local i
    for ((i = 1; i < COMP_CWORD; i++)); do
        # The same daemon as the command line will ask.
        case ${COMP_WORDS[i]}${COMP_WORDS[i + 1]} in
            --db= | --state=) _vsctl_where+=("${COMP_WORDS[i]}=${COMP_WORDS[i + 2]}") ;;
        esac
    done
    COMPREPLY=()
    case $previous in
        -f | --format) COMPREPLY=($(compgen -W "list table csv json html" -- "$cur")) && return ;;
        -d | --data) COMPREPLY=($(compgen -W "string bare json" -- "$cur")) && return ;;
    esac
    _vsctl_parse
    if [[ -z $verb && $cur == -* ]]; then
        local words
        words=$(vsctl --options 2>/dev/null; vsctl --commands 2>/dev/null | sed 's/,.*//')
        COMPREPLY=($(compgen -W "$words" -- "$cur"))
        return
    fi
    COMPREPLY=($(compgen -W "$(_vsctl_candidates)" -- "$cur"))
}

complete -F _vsctl vsctl
