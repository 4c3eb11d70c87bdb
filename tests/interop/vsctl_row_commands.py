"""Commands of vsctl on the rows and columns of any table.

Each script runs from top to bottom on an empty database. A line is split at spaces; `|` stands for a
space in a word.
"""

ROW_SCRIPTS = {
    "columns": """
        add-br br0 -- add-port br0 p0 -- add-port br0 p1 tag=10 -- set Interface p0 options:a=b
        list Bridge br0
        list Interface p0
        list Port p1
        list Open_vSwitch
        -f table list Port p1
        -f csv list Port p1
        -f json list Port p1
        -f html --columns=name,tag list Port p1
        -d json --columns=name,tag,trunks list Port p1
        -d bare list Port p1
        --bare list Port p1
        --bare --columns=name find Bridge name=br0
        --no-headings -f table --columns=name,tag list Port p1
        --columns=name,tag list Port p1 p0
        --columns=name,name list Port p0
        --columns= list Port
        --columns=nosuch find Port
        -f table --columns=name list Port p0 -- --columns=name list Bridge
        -f csv --columns=name,options list Interface p0
        list SSL
        -f table list SSL
        -f csv --columns=ca_cert list SSL
        -f json --columns=ca_cert list SSL
        get Interface p0 type options name ofport statistics
        get Interface p0 statistics:rx_packets
        get Interface p0 options:foo
        --if-exists get Interface p0 options:foo
        --if-exists get Interface nosuch options:foo
        get Interface nosuch name
        get Interface p0 nosuch
        get Inter p0 name
        get Nosuch p0 name
        get C p0 name
        get Interface p0 o
        get Bridge br0 name:foo
        get Bridge br0 other_config:
        get Bridge br0 other_config=x
        get Bridge br0 other_config:a=x
        get Bridge br0
        get Bridge br0 _version
        get open-vswitch . next-
        get op . next_
        get open-vswitch . nextcfg
        get QoS . type
        list Queue p0
        list Bridge nosuch
        --if-exists list Bridge nosuch
        --oneline list-br
        --oneline list-br -- list-ports br0 -- --columns=name list Bridge
        --dry-run add-br zz -- list-br
        list-br
    """,
    "values": r"""
        add-br br0 -- add-port br0 p0
        set Interface p0 options:a=b options:c=x|y
        get Interface p0 options
        set Interface p0 options={a=1,a=2}
        set Interface p0 options=a=1,a=1
        set Interface p0 options:a=
        set Interface p0 options:a=""
        set Interface p0 options:b="x
        set Interface p0 options:b="x\n\"q\u00e9"
        get Interface p0 options
        set Interface p0 options:c=x"
        set Interface p0 options:d=0000:01:00.0 options:e=true options:f=x.y-z_9 options:g=9a options:h=br-int
        set Interface p0 options:i=é options:j=a/b options:k=ce7add71-4385-419a-985b-0c31b3bae02b options:l=-a
        get Interface p0 options
        get Interface p0 options:a options:d options:e
        set Interface p0 options:=x
        set Interface p0 options:a|b=x
        set Interface p0 options:"a|b"=x
        set Interface p0 options={"a|b"=c,,d=e}
        set Interface p0 options={"a|b"=c|d=e}
        get Interface p0 options
        set Interface p0 options={a=b
        set Interface p0 options={}}
        set Interface p0 options={}x
        set Interface p0 options=[a=b]
        set Interface p0 options=a=b,c=d
        set Interface p0 options={a|b=1}
        set Interface p0 options={a=}
        set Interface p0 options={=b}
        set Interface p0 options={}
        get Interface p0 options
        set Port p0 trunks=1-5
        get Port p0 trunks
        set Port p0 trunks=1,2,,3
        set Port p0 trunks=[5,4,4,3]
        set Port p0 trunks=[1|2|3
        set Port p0 trunks={1}
        set Port p0 trunks=1|2
        set Port p0 trunks=5-2
        set Port p0 trunks=-1
        set Port p0 trunks=0-5000
        set Port p0 trunks=99999999999999999999
        set Port p0 trunks=
        set Port p0 trunks=[]
        set Port p0 interfaces=[]
        set Port p0 interfaces=foo
        set Port p0 mac=foo:bar
        set Port p0 mac=foo,bar
        set Port p0 tag=4096
        set Interface p0 ofport_request=99999999
        set Interface p0 ofport_request=0x10
        set Interface p0 ofport_request=+10
        set Interface p0 ofport_request=1.5
        set Interface p0 ofport_request=5-6
        set Interface p0 mtu_request=0
        set Bridge br0 flow_tables:255=x
        set QoS x queues:5000000000=y
        set Interface p0 mtu_request=[]
        set Interface p0 mtu_request=[1,2]
        set Interface p0 type=a|b
        set Interface p0 type="a|b"
        get Interface p0 type
        set Interface p0 type=[a]
        set Interface p0 type=[]
        set Interface p0 type=tcp:1
        set Interface p0 type=a\
        set Interface p0 type="a\
        set Interface p0 type
        set Interface p0 type=
        set Interface p0 type:foo=bar
        set Interface p0 type!=bar
        set Interface p0 name=foo
        set Interface p0 :a=foo
        set Bridge br0 fail_mode=foo
        set Bridge br0 stp_enable=maybe
        set Bridge br0 stp_enable=true
        get Bridge br0 stp-enable
        set Bridge br0 protocols=OpenFlow13,OpenFlow10
        get Bridge br0 protocols
        set Bridge br0 protocols=OpenFlow99
        set Bridge br0 flood_vlans=[1-3,7]
        get Bridge br0 flood_vlans
        set Bridge br0 _uuid=x
        set Interface nosuch a=b
        --if-exists set Interface nosuch type=b
        set Port p0 qos=@y
    """,
    "sets": """
        add-br br0 -- add-port br0 p0
        add Interface p0 options k=v
        add Interface p0 options k=w
        get Interface p0 options
        add Interface p0 options
        add Interface p0 options k
        add Interface p0 options a=b,c=d e=f
        remove Interface p0 options e=f,c=x
        get Interface p0 options
        remove Interface p0 options {c=d}
        remove Interface p0 options a
        get Interface p0 options
        remove Interface p0 options
        add Port p0 trunks [10,11] 12
        add Port p0 trunks 12
        remove Port p0 trunks 8 10
        get Port p0 trunks
        add Port p0 tag 5
        remove Port p0 tag 5
        get Port p0 tag
        add Interface p0 name x
        remove Interface p0 name x
        add Interface nosuch options a=b
        remove Interface nosuch options a=b
        --if-exists remove Interface nosuch options a=b
        clear Interface p0 type
        clear Interface p0 options
        clear Interface p0 name
        clear Interface nosuch options
        --if-exists clear Interface nosuch options
        clear Port p0 interfaces
        clear Port p0 trunks tag
        get Port p0 trunks
    """,
    "rows": """
        add-br br0 -- add-port br0 p0
        --id=@x create QoS type=linux-htb -- set Port p0 qos=@x
        list QoS
        get QoS p0 type
        destroy QoS p0
        clear Port p0 qos
        create Queue other_config:max-rate=1000
        list Queue
        --id=x create Queue dscp=1
        create Queue
        create Controller target=tcp:1.2.3.4
        create Bridge name=foo
        list-br
        create Interface name=foo bar
        --id=@a create QoS type=a -- --id=@a create QoS type=b
        --id=a get Interface p0
        --id=@a get Interface p0 name -- --id=@a get Interface p0
        --id=@a get Interface p0 -- set Port p0 interfaces=@a
        --id=@q create QoS type=x queues=0=@q0 -- --id=@q0 create Queue dscp=5 -- set Port p0 qos=@q
        --all destroy Queue foo
        --if-exists destroy Queue nosuch
        destroy Queue nosuch
        clear Port p0 qos -- --all destroy QoS -- --all destroy Queue
        list Queue
        create Mirror name=m1
        --id=@p get Port p0 -- --id=@m create Mirror name=m1 output_port=@p -- add Bridge br0 mirrors @m
        --columns=name,output_port list Mirror
        --id=@m create Mirror name=m1 select_all=true output_port=p0 -- add Bridge br0 mirrors @m
        del-port p0
        get Mirror m1 output_port
        clear Bridge br0 mirrors
        list Mirror
    """,
    "find": """
        add-br br0 -- add-port br0 p0 trunks=1,2,3 -- add-port br0 p1 tag=10 external_ids:k=v
        --columns=name find Interface type=internal
        --columns=name find Interface type!=internal
        --columns=name find Port tag=10
        --columns=name find Port tag>5
        --columns=name find Port tag<=10
        --columns=name find Port trunks{>=}1
        --columns=name find Port trunks{>=}[1,2]
        --columns=name find Port trunks{<}[1,2,3,4]
        --columns=name find Port trunks{>}1
        --columns=name find Port trunks{=}[1,2,3]
        --columns=name find Port trunks{!=}[1,2,3]
        --columns=name find Port trunks{in}[1,2,3,9]
        --columns=name find Port trunks{not-in}[1,9]
        --columns=name find Port trunks=[]
        --columns=name find Port trunks<5
        --columns=name find Port external_ids:k=v
        --columns=name find Port external_ids:k!=v
        --columns=name find Port external_ids:k!=w
        --columns=name find Port external_ids:k{<=}v
        --columns=name find Port external_ids:k{!=}v
        --columns=name find Port external_ids={k=v}
        --columns=name find Port external_ids<{a=b}
        --columns=name find Port name=p0 trunks{>=}1
        --columns=name find Port tag~5
        --columns=name find Port tag
        --columns=name find Port tag=
        find Nosuch tag=1
        --columns=name find Port name:a=b
        wait-until Bridge br0 name=br0
        wait-until Bridge br0 name:=br1
    """,
}
