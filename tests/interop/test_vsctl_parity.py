"""vsctl against Debian's ovs-vsctl: the same commands, the same output, messages and exit codes.

A private ovsdb-server answers ovs-vsctl; vsctl works on a database file of its own. UUIDs are masked and
lines that a hash table orders are sorted. Where we differ on purpose, the command is in DIFFERENT, with the
reason.
"""

import os
import re
import shutil
import subprocess
import time

import pytest

from ctl import vsctl

pytestmark = pytest.mark.interop

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
_TOOLS = ("ovs-vsctl", "ovsdb-server", "ovsdb-tool")

# Each script runs from top to bottom on an empty database. A line is split at spaces; `|` stands for a
# space in a word.
SCRIPTS = {
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

DIFFERENT = {
    "add Interface p0 options k": "their message ends at the NUL that it complains about",
}


def _start_peer(directory) -> tuple[str, int]:
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None] + [
        p for p in [_SCHEMA] if not os.path.exists(p)
    ]
    if missing:
        if os.environ.get("VS_REQUIRE_PEERS") == "1":
            pytest.fail(f"missing peers: {missing}")
        pytest.skip(f"not installed: {', '.join(missing)}")
    environment = {**os.environ, "OVS_RUNDIR": str(directory), "OVS_LOGDIR": str(directory)}
    subprocess.run(["ovsdb-tool", "create", directory / "conf.db", _SCHEMA], check=True, env=environment)
    pid_file = directory / "pid"
    command = ["ovsdb-server", f"--remote=punix:{directory}/db.sock", "--detach", f"--pidfile={pid_file}"]
    subprocess.run(
        [*command, "--no-chdir", f"--log-file={directory}/log", directory / "conf.db"],
        check=True,
        env=environment,
    )
    return f"unix:{directory}/db.sock", int(pid_file.read_text())


@pytest.fixture
def peer(tmp_path):
    db, pid = _start_peer(tmp_path)
    yield db
    os.kill(pid, 15)
    for _ in range(500):
        if not os.path.exists(f"/proc/{pid}"):
            return
        time.sleep(0.01)


def _mask(text: str, words: list[str]) -> list[str]:
    """Return comparable lines."""
    text = re.sub(r"^.*\|WARN\|.*\n", "", text, flags=re.MULTILINE)
    text = re.sub(r"^vsctl: warning: .*\n", "", text, flags=re.MULTILINE)
    text = _UUID.sub("U", text.replace("ovs-vsctl: ", "vsctl: ").replace("\0", ""))
    text = re.sub(r" +$", "", text, flags=re.MULTILINE)
    lines = text.splitlines()
    return sorted(lines) if {"list", "find", "show", "create"} & set(words) else lines


def _theirs(db: str, words: list[str]) -> tuple[int, list[str], list[str]]:
    command = ["ovs-vsctl", f"--db={db}", "--no-syslog", "--no-wait", "-vconsole:off", *words]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    return done.returncode, _mask(done.stdout, words), _mask(done.stderr, words)


def _ours(state: str, words: list[str], capfd) -> tuple[int, list[str], list[str]]:
    capfd.readouterr()
    code = vsctl.main([f"--state={state}", "--no-wait", *words])
    out, err = capfd.readouterr()
    return code, _mask(out, words), _mask(err, words)


@pytest.mark.parametrize("script", SCRIPTS)
def test_same_as_ovs_vsctl(script, peer, tmp_path, capfd):
    differences = []
    lines = [line.strip() for line in SCRIPTS[script].strip().splitlines()]
    for line in lines:
        words = [word.replace("|", " ") for word in line.split()]
        theirs = _theirs(peer, words)
        ours = _ours(str(tmp_path / "ours"), words, capfd)
        if theirs != ours and line not in DIFFERENT:
            differences.append(f"{line}\n    theirs: {theirs}\n    ours:   {ours}")
    assert not differences, "\n".join(differences)
    assert len(lines) > 10
