"""Commands of vsctl on bridges, ports and controllers, and how a command line may be written.

Each script runs from top to bottom on an empty database. A line is split at spaces; `|` stands for a
space in a word.
"""

BRIDGE_SCRIPTS = {
    "bridges": """
        list-br
        add-br
        add-br a b
        add-br a b c d
        add-br br0
        add-br br0
        --may-exist add-br br0
        add-br br1 -- add-port br1 q0
        list-br
        br-exists br0
        br-exists nosuch
        br-exists
        br-exists a b
        list-br a
        br-to-vlan br0
        br-to-parent br0
        br-to-parent nosuch
        br-set-external-id br0 a b
        br-set-external-id br0 c d
        br-get-external-id br0 a
        br-get-external-id br0
        br-get-external-id br0 zz
        br-set-external-id br0 a
        br-get-external-id br0
        br-get-external-id nosuch
        add-br [x]
        get Bridge [x] name
        --if-exists del-br nosuch
        del-br nosuch
        del-br br1
        list-br
        show
    """,
    "fake-bridges": """
        add-br br0
        add-br v5 br0 5
        add-br v5b br0 5
        add-br v5 br0 6
        add-br v6 br0 5000
        add-br v6 nosuch 6
        add-br v6 v5 6
        --may-exist add-br v5 br0 5
        --may-exist add-br v5 br0 6
        --may-exist add-br v5
        --may-exist add-br br0 v5 7
        br-to-vlan v5
        br-to-parent v5
        list-br
        --real list-br
        --fake list-br
        add-port v5 fp
        list-ports br0
        list-ports v5
        port-to-br fp
        list-ifaces v5
        br-set-external-id v5 k w
        br-get-external-id v5
        br-get-external-id br0
        get-controller v5
        set-controller v5 tcp:1.1.1.1
        set-fail-mode v5 secure
        show
        get-fail-mode v5
        set-controller br0 tcp:1.1.1.1 -- set-fail-mode br0 secure
        get-controller v5
        get-fail-mode v5
        del-controller v5
        add-port br0 rp
        del-port v5 rp
        del-port br0 fp
        del-br v5
        list-ports br0
        list-br
    """,
    "ports": """
        add-br br0 -- add-br br1
        add-port br0
        add-port br0 p0 -- set Interface p0 type=dpdkvhostuserclient
        options:vhost-server-path=/run/vhost/x.sock add-port br0 p1 tag=10 trunks=[1,2] vlan_mode=access
        add-port br1 q0
        add-port nosuch p1
        add-port nosuch p2
        add-port br0 p1
        --may-exist add-port br0 p1
        --may-exist add-port br0 q0
        --may-exist add-port nosuch p0
        add-port br0 br0
        --may-exist add-port br0 br0
        add-port br0 p9 foo
        add-port br0 p9 foo=bar
        add-port br0 p9 tag=foo
        --if-exists add-port br0 p9
        add-port br0 a|b
        add-port br0 pt trunks=1,2 other_config:a=b external_ids={x=y} tag=5
        get Port pt trunks other_config external_ids tag
        add-port br0 pa tag=1 -- add-port br0 pb -- add-port nosuch pc
        list-ports br0
        list-ports nosuch
        list-ifaces br0
        port-to-br p0
        port-to-br nosuch
        port-to-br br0
        iface-to-br p0
        iface-to-br nosuch
        iface-to-br br0
        del-port nosuch
        del-port br0
        del-port nosuch p0
        del-port br0 q0
        del-port br0 br0
        --if-exists del-port nosuch
        --if-exists del-port br0 q0
        --with-iface del-port pt
        --with-iface del-port br0 pt
        show
        del-port p0 -- del-port br0 p1
        list-ports br0
        add-br n1 -- add-port n1 n1p -- list-ports n1 -- get Interface n1p name
    """,
    "control": """
        add-br br0
        get-controller br0
        set-controller br0 tcp:127.0.0.1:6653 ptcp:6654
        get-controller br0
        set-controller br0 tcp:1.1.1.1 tcp:1.1.1.1
        get-controller br0
        --inactivity-probe=5000 set-controller br0 tcp:1.1.1.1
        --columns=target,inactivity_probe list Controller
        get Controller br0 target
        show
        del-controller br0
        list Controller
        get-controller nosuch
        get-fail-mode br0
        set-fail-mode br0 foo
        set-fail-mode br0 secure
        set-fail-mode nosuch secure
        get-fail-mode br0
        show
        del-fail-mode br0
        get-fail-mode br0
        get-fail-mode nosuch
        get-ssl
        set-ssl a b c
        get-ssl
        --bootstrap set-ssl a b c
        get-ssl
        get SSL . private_key
        list SSL
        del-ssl
        get-ssl
        get-manager
        set-manager ptcp:6640 ssl:1.2.3.4
        get-manager
        show
        del-manager
        get-manager
        set-controller br0 tcp:1.1.1.1
        set-fail-mode br0 secure
        set Bridge br0 other_config:hwaddr=00:11:22:33:44:55 other_config:x=y
        emer-reset
        get Bridge br0 other_config fail_mode controller
        init
        comment foo bar
    """,
    "grammar": """
        nosuchcmd
        --nosuchopt list-br
        list-br --nosuchopt
        list-br -- --nosuchopt list-br
        list-br -- --real=3 list-br
        --if-exists= list-br
        --real=3 list-br
        --id
        -- -- list-br
        list-br -- --
        list-br --
        --
        add-br zz -- nosuchcmd
        list-br
        -t 0 list-br
        -t x list-br
        -f
        --format=xxx list-br
        --data=xxx list-br
        list-br -- --columns get Bridge br0 name
        list-br -- --if-exists --if-exists del-br a
    """,
}
