"""Every verb of vsctl, its happy and its bad paths, in a table: command line, exit code, what it prints.

The commands of a case run in order on an empty database without a daemon; only the last one's output
counts, the others must succeed. tests/interop/test_vsctl_parity.py holds the same verbs against ovs-vsctl
where that is installed.
"""

import re

import pytest

from ctl import vsctl
from vswitchd.config.command import VERBS
from vswitchd.config.engine import HANDLERS

BR = "add-br br0"
PORT = "add-port br0 p0"
QOS = "--id=@q create QoS type=x -- set Port p0 qos=@q"
U = "U"

# ruff: noqa: ISC004 - a table reads better so
# (commands, exit code, standard output, standard error without "vsctl: "). UUIDs read U.
CASES = [
    (["init"], 0, "", ""),
    (["init x"], 1, "", "'init' command takes at most 0 arguments"),
    (["comment a b"], 0, "", ""),
    (["comment a -- nosuch"], 1, "", "unknown command 'nosuch'; use --help for help"),
    (["show"], 0, "U\n", ""),
    (
        [
            BR,
            PORT + " tag=3",
            "set Interface p0 type=tap options:a=b",
            "set-controller br0 tcp:1.1.1.1",
            "show",
        ],
        0,
        'U\n    Bridge br0\n        Controller "tcp:1.1.1.1"\n        Port br0\n            Interface br0\n'
        "                type: internal\n        Port p0\n            tag: 3\n            Interface p0\n"
        "                type: tap\n                options: {a=b}\n",
        "",
    ),
    (["show x"], 1, "", "'show' command takes at most 0 arguments"),
    ([BR, "set-fail-mode br0 secure", "emer-reset", "get Bridge br0 fail_mode"], 0, "[]\n", ""),
    (["emer-reset x"], 1, "", "'emer-reset' command takes at most 0 arguments"),
    (["add-br"], 1, "", "'add-br' command requires at least 1 arguments"),
    (["add-br a b"], 1, "", "'add-br' command takes exactly 1 or 3 arguments"),
    ([BR, BR], 1, "", "cannot create a bridge named br0 because a bridge named br0 already exists"),
    ([BR, "--may-exist add-br br0"], 0, "", ""),
    (["add-br a/b"], 1, "", '"a/b" cannot name a bridge: a name must not be empty or hold "/"'),
    ([BR, "add-br v br0 4096"], 1, "", "add-br: vlan must be between 0 and 4095"),
    ([BR, "add-br v br0 5", "br-to-vlan v"], 0, "5\n", ""),
    (["br-to-vlan v"], 1, "", "no bridge named v"),
    ([BR, "add-br v br0 5", "br-to-parent v"], 0, "br0\n", ""),
    (["br-to-parent v"], 1, "", "no bridge named v"),
    ([BR, "del-br br0", "list-br"], 0, "", ""),
    (["del-br br0"], 1, "", "no bridge named br0"),
    (["--if-exists del-br br0"], 0, "", ""),
    (["add-br b", "add-br a", "list-br"], 0, "a\nb\n", ""),
    ([BR, "add-br v br0 5", "--fake list-br"], 0, "v\n", ""),
    ([BR, "add-br v br0 5", "--real list-br"], 0, "br0\n", ""),
    (["list-br x"], 1, "", "'list-br' command takes at most 0 arguments"),
    ([BR, "br-exists br0"], 0, "", ""),
    (["br-exists br0"], 2, "", ""),
    ([BR, "br-set-external-id br0 k v", "br-get-external-id br0"], 0, "k=v\n", ""),
    ([BR, "br-set-external-id br0 k v", "br-set-external-id br0 k", "br-get-external-id br0 k"], 0, "", ""),
    (["br-set-external-id br0 k v"], 1, "", "no bridge named br0"),
    (["br-get-external-id br0"], 1, "", "no bridge named br0"),
    ([BR, PORT, "list-ports br0"], 0, "p0\n", ""),
    (
        [BR, PORT, PORT],
        1,
        "",
        "cannot create a port named p0 because a port named p0 already exists on bridge br0",
    ),
    ([BR, PORT, "--may-exist add-port br0 p0"], 0, "", ""),
    ([PORT], 1, "", "no bridge named br0"),
    (
        [BR, PORT + " tag=5000"],
        1,
        "",
        "constraint violation: 5000 is not in the valid range 0 to 4095 (inclusive)",
    ),
    (["list-ports br0"], 1, "", "no bridge named br0"),
    (["add-bond br0 b a c"], 1, "", "add-bond: this switch has no bonds yet; use one port per interface"),
    (["add-bond br0 b"], 1, "", "'add-bond' command requires at least 4 arguments"),
    (
        ["add-bond-iface b a"],
        1,
        "",
        "add-bond-iface: this switch has no bonds yet; use one port per interface",
    ),
    (
        ["del-bond-iface b a"],
        1,
        "",
        "del-bond-iface: this switch has no bonds yet; use one port per interface",
    ),
    ([BR, PORT, "del-port br0 p0", "list-ports br0"], 0, "", ""),
    (["del-port p0"], 1, "", "no port named p0"),
    (["--if-exists del-port p0"], 0, "", ""),
    (["--with-iface del-port p0"], 1, "", "no port or interface named p0"),
    ([BR, PORT, "--with-iface del-port p0", "list Port p0"], 1, "", 'no row "p0" in table Port'),
    (
        [BR, "del-port br0"],
        1,
        "",
        "cannot delete port br0 because it is the local port for bridge br0"
        " (deleting this port requires deleting the entire bridge)",
    ),
    ([BR, PORT, "port-to-br p0"], 0, "br0\n", ""),
    (["port-to-br p0"], 1, "", "no port named p0"),
    ([BR, PORT, "list-ifaces br0"], 0, "p0\n", ""),
    (["list-ifaces br0"], 1, "", "no bridge named br0"),
    ([BR, PORT, "iface-to-br p0"], 0, "br0\n", ""),
    (["iface-to-br p0"], 1, "", "no interface named p0"),
    ([BR, "set-controller br0 tcp:b tcp:a", "get-controller br0"], 0, "tcp:a\ntcp:b\n", ""),
    (
        [BR, "set-controller br0 carrier:pigeon"],
        0,
        "",
        'warning: target type "carrier:pigeon" is possibly erroneous',
    ),
    (
        [BR, "--inactivity-probe=x set-controller br0 tcp:a"],
        1,
        "",
        '--inactivity-probe: "x" is not a number of milliseconds',
    ),
    (["set-controller br0 tcp:a"], 1, "", "no bridge named br0"),
    (["get-controller br0"], 1, "", "no bridge named br0"),
    ([BR, "set-controller br0 tcp:a", "del-controller br0", "get-controller br0"], 0, "", ""),
    (["del-controller br0"], 1, "", "no bridge named br0"),
    ([BR, "set-fail-mode br0 secure", "get-fail-mode br0"], 0, "secure\n", ""),
    ([BR, "set-fail-mode br0 sloppy"], 1, "", 'fail-mode must be "standalone" or "secure"'),
    (["get-fail-mode br0"], 1, "", "no bridge named br0"),
    ([BR, "set-fail-mode br0 secure", "del-fail-mode br0", "get-fail-mode br0"], 0, "", ""),
    (["del-fail-mode br0"], 1, "", "no bridge named br0"),
    (["set-manager ptcp:1 ssl:2", "get-manager"], 0, "ptcp:1\nssl:2\n", ""),
    (["set-manager"], 1, "", "'set-manager' command requires at least 1 arguments"),
    (["set-manager ptcp:1", "del-manager", "get-manager"], 0, "", ""),
    (["del-manager x"], 1, "", "'del-manager' command takes at most 0 arguments"),
    (["get-manager x"], 1, "", "'get-manager' command takes at most 0 arguments"),
    (
        ["--bootstrap set-ssl k c ca", "get-ssl"],
        0,
        "Private key: k\nCertificate: c\nCA Certificate: ca\nBootstrap: true\n",
        "",
    ),
    (["get-ssl"], 0, "", ""),
    (["get-ssl x"], 1, "", "'get-ssl' command takes at most 0 arguments"),
    (["set-ssl k"], 1, "", "'set-ssl' command requires at least 3 arguments"),
    (["set-ssl k c ca", "del-ssl", "list SSL"], 0, "", ""),
    (["del-ssl x"], 1, "", "'del-ssl' command takes at most 0 arguments"),
    (
        [BR, "--columns=name,stp_enable list Br br0"],
        0,
        "name                : br0\nstp_enable          : false\n",
        "",
    ),
    (["list Bridge br0"], 1, "", 'no row "br0" in table Bridge'),
    (["--if-exists list Bridge br0"], 0, "", ""),
    (["list Nosuch"], 1, "", 'unknown table "Nosuch"'),
    ([BR, PORT + " tag=9", "--bare --columns=name find Port tag>5"], 0, "p0\n", ""),
    (["find Port tag"], 1, "", None),
    (["find Port nosuch=1"], 1, "", 'Port does not contain a column whose name matches "nosuch"'),
    ([BR, "get Bridge br0 name fail-mode"], 0, "br0\n[]\n", ""),
    ([BR, "get Bridge br0 status:x"], 1, "", 'no key "x" in Bridge record "br0" column status'),
    ([BR, "--if-exists get Bridge br0 status:x"], 0, "\n", ""),
    (["--if-exists get Bridge br0 name"], 0, "", ""),
    (["get Bridge br0 name"], 1, "", 'no row "br0" in table Bridge'),
    (
        [BR, "set Bridge br0 other_config:a=1 other_config:b=2", "get Bridge br0 other_config"],
        0,
        '{a="1", b="2"}\n',
        "",
    ),
    ([BR, "set Bridge br0 name=x"], 1, "", "cannot modify read-only column name in table Bridge"),
    (
        [BR, "set Bridge br0 stp_enable=perhaps"],
        1,
        "",
        '"perhaps" is not a valid boolean (use "true" or "false")',
    ),
    (["--if-exists set Bridge br0 stp_enable=true"], 0, "", ""),
    ([BR, PORT, "add Port p0 trunks 1 2,3", "get Port p0 trunks"], 0, "[1, 2, 3]\n", ""),
    (
        [BR, PORT, "add Port p0 tag 1 2"],
        1,
        "",
        '"add" operation would put 2 values in column tag of table Port but the maximum number is 1',
    ),
    (["--if-exists add Port p0 trunks 1"], 0, "", ""),
    ([BR, PORT + " trunks=1,2", "remove Port p0 trunks 1", "get Port p0 trunks"], 0, "[2]\n", ""),
    (
        [
            BR,
            "set Bridge br0 status={a=b,c=d,e=f}",
            "remove Bridge br0 status a c=x e=f",
            "get Bridge br0 status",
        ],
        0,
        None,
        "",
    ),
    (
        [BR, PORT, 'remove Interface p0 type ""'],
        1,
        "",
        '"remove" operation would put 0 values in column type of table Interface but the minimum number is 1',
    ),
    ([BR, PORT + " tag=1", "clear Port p0 tag", "get Port p0 tag"], 0, "[]\n", ""),
    (
        [BR, "clear Bridge br0 stp_enable"],
        1,
        "",
        '"clear" operation cannot be applied to column stp_enable of table Bridge, '
        "which is not allowed to be empty",
    ),
    (["create Queue dscp=5"], 0, "U\n", ""),
    (
        ["create Queue dscp=99"],
        1,
        "",
        "constraint violation: 99 is not in the valid range 0 to 63 (inclusive)",
    ),
    (["create Mirror name=m"], 0, "U\n", None),
    (["--id=q create QoS type=x"], 1, "", 'row id "q" does not begin with "@"'),
    ([BR, PORT, QOS, "get QoS p0 type"], 0, "x\n", ""),
    (
        [BR, PORT, "set Port p0 qos=@q"],
        1,
        "",
        'row id "@q" is referenced but never created (e.g. with "-- --id=@q create ...")',
    ),
    ([BR, PORT, QOS, "destroy QoS p0"], 1, "", None),
    ([BR, PORT, QOS, "clear Port p0 qos -- --all destroy QoS", "list QoS"], 0, "", ""),
    (
        ["destroy Open_vSwitch ."],
        1,
        "",
        "the row of table Open_vSwitch cannot be deleted; clear its columns instead",
    ),
    (["destroy Queue nosuch"], 1, "", 'no row "nosuch" in table Queue'),
    (["--all destroy Queue x"], 1, "", "--all and records argument should not be specified together"),
    ([BR, "wait-until Bridge br0 name=br0 stp_enable=false"], 0, "", ""),
    ([BR, "wait-until Bridge br0 name:x=y"], 1, "", "cannot specify key to check for non-map column name"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: "; ".join(case[0]))
def test_verb(case, tmp_path, capfd):
    commands, code, out, err = case
    for at, command in enumerate(commands):
        result = vsctl.main([f"--state={tmp_path}", "--no-wait", *command.split()])
        said = capfd.readouterr()
        if at < len(commands) - 1:
            assert (result, said.err) == (0, ""), command
    assert result == code
    if out is not None:
        assert re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "U", said.out) == out
    if err is not None:
        assert said.err == (f"vsctl: {err}\n" if err else "")
    else:
        assert said.err.startswith("vsctl: ")
        assert said.err.count("\n") == 1


def test_every_verb_has_a_handler_and_good_and_bad_cases():
    assert set(HANDLERS) == set(VERBS)
    last = [(commands[-1].split(" -- ")[0], code) for commands, code, _, _ in CASES]
    for verb in VERBS:
        codes = {code != 0 for command, code in last if verb in command.split()}
        used = any(verb in command.split() for commands, _, _, _ in CASES for command in commands)
        good = False in codes or any(verb in c.split() for commands, *_ in CASES for c in commands[:-1])
        assert used, verb
        assert good or "bond" in verb, f"no good case for {verb}"
        assert True in codes or verb in ("show", "comment"), f"no bad case for {verb}"


def test_chained_commands_are_one_transaction(tmp_path, capfd):
    state = f"--state={tmp_path}"
    words = ["add-br", "br0", "--", "add-port", "br0", "p0", "--", "add-port", "nosuch", "p1"]
    assert vsctl.main([state, "--no-wait", *words]) == 1
    assert vsctl.main([state, "--no-wait", "list-br"]) == 0
    assert capfd.readouterr().out == ""


def test_a_symbol_may_be_used_before_its_row_is_made(tmp_path, capfd):
    state = f"--state={tmp_path}"
    chain = "add-br br0 -- add-port br0 p0 -- set Port p0 qos=@q -- --id=@q create QoS type=x queues:1=@r"
    assert (
        vsctl.main([state, "--no-wait", *chain.split(), *["--", "--id=@r", "create", "Queue", "dscp=7"]]) == 0
    )
    assert vsctl.main([state, "--no-wait", *["--bare", "--columns=dscp", "list", "Queue"]]) == 0
    assert capfd.readouterr().out.splitlines()[-1] == "7"


def test_bytes_that_are_no_text_are_refused(tmp_path, capfd):
    assert vsctl.main([f"--state={tmp_path}", "--no-wait", "add-br", "a\udcff"]) == 1
    error = capfd.readouterr().err
    assert error.startswith("vsctl: ")
    assert error.count("\n") == 1
