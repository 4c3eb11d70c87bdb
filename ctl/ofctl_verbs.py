"""vsofctl's verbs as a table: name, arguments, where the function stands, what it does.

`act` (module:function) does the verb. A verb that reads has `facts` besides: it takes what `act` returned and
gives plain values for JSON; then `act` returns (what was read, text). Modules are imported when a verb of
theirs is called.
"""

from __future__ import annotations

from typing import NamedTuple


class Verb(NamedTuple):
    """One verb. `least` and `most` count the arguments, the target among them."""

    name: str
    arguments: str
    act: str
    help: str
    least: int = 1
    most: int = 1
    facts: str = ""
    writes: bool = False


def _read(name: str, where: str, text: str, more: str = "", most: int = 1) -> Verb:
    module, _, function = where.partition(":")
    arguments = f"SWITCH {more}".strip()
    return Verb(name, arguments, where, text, most=most, facts=f"{module}:{function}_facts")


def _write(name: str, where: str, text: str, more: str, counts: tuple[int, int] = (2, 2)) -> Verb:
    return Verb(name, f"SWITCH {more}", where, text, *counts, writes=True)


_TABLE = (
    _read("show", "ofctl_info:show", "print the switch, its ports and configuration"),
    _read("dump-desc", "ofctl_info:desc", "print the switch's description"),
    _read("dump-tables", "ofctl_info:tables", "print the counters of the tables"),
    _read("dump-ports", "ofctl_ports:stats", "print the counters of the ports", "[PORT]", 2),
    _read("dump-ports-desc", "ofctl_ports:desc", "print the ports", "[PORT]", 2),
    _write("mod-port", "ofctl_ports:mod", "change a port: up, down, [no-]receive, [no-]forward, "
           "[no-]packet-in", "PORT CHANGE", (3, 3)),
    _read("get-frags", "ofctl_info:frags", "print how fragments are handled"),
    _write("set-frags", "ofctl_info:set_frags", "handle fragments: normal, drop, reassemble", "MODE"),
    _read("dump-flows", "ofctl_dump:flows", "print the flows, or those that FLOW takes", "[FLOW]", 2),
    _read("dump-aggregate", "ofctl_dump:aggregate", "print the sums over the flows", "[FLOW]", 2),
    _write("add-flow", "ofctl_flows:add_flow", "add a flow", "FLOW"),
    _write("add-flows", "ofctl_flows:add_flows", "add the flows of a file (-: standard input)", "FILE"),
    _write("mod-flows", "ofctl_flows:mod_flows", "change the actions of the flows that FLOW takes", "FLOW"),
    _write("del-flows", "ofctl_flows:del_flows", "delete all flows, or those that FLOW takes (-: from "
           "standard input)", "[FLOW]", (1, 2)),
    _write("replace-flows", "ofctl_replace:replace", "make the flows those of a file: what differs is added or deleted", "FILE"),
    Verb("diff-flows", "SOURCE1 SOURCE2", "ofctl_replace:diff", "print what differs between the flows of two switches or files "
         "(exit code 2)", 2, 2, facts="ofctl_replace:diff_facts"),
    _write("packet-out", "ofctl_packets:packet_out", "send packets: in_port=PORT,packet=HEX,actions=ACTIONS",
           "PACKET-OUT|IN_PORT ACTIONS PACKET...", (2, 1 << 16)),
    Verb("monitor", "SWITCH MISSLEN", "ofctl_monitor:monitor", "print packet-ins (MISSLEN bytes of each), "
         "removed flows, changed ports; without MISSLEN the switch sends none", 1, 2),
    _read("dump-groups", "ofctl_groups:groups", "print the groups", "[GROUP]", 2),
    _read("dump-group-stats", "ofctl_groups:stats", "print the counters of the groups", "[GROUP]", 2),
    _read("dump-group-features", "ofctl_groups:features", "print what groups can do"),
    _write("add-group", "ofctl_groups:add", "add a group", "GROUP"),
    _write("mod-group", "ofctl_groups:mod", "change a group (--may-create: or add it)", "GROUP"),
    _write("del-groups", "ofctl_groups:delete", "delete all groups, or one", "[GROUP]", (1, 2)),
    _read("dump-meters", "ofctl_meters:meters", "print the meters, or one", "[meter=METER]", 2),
    _read("meter-stats", "ofctl_meters:stats", "print the counters of the meters, or of one", "[meter=METER]", 2),
    _read("meter-features", "ofctl_meters:features", "print what meters can do"),
    _write("add-meter", "ofctl_meters:add", "add a meter", "METER"),
    _write("mod-meter", "ofctl_meters:mod", "change a meter", "METER"),
    _write("del-meters", "ofctl_meters:delete", "delete all meters, or one", "[meter=METER]", (1, 2)),
    _read("queue-stats", "ofctl_queues:stats", "print the counters of queues", "[PORT [QUEUE]]", 3),
    _read("queue-get-config", "ofctl_queues:config", "print how queues are configured", "[PORT]", 2),
    Verb("probe", "TARGET", "ofctl_echo:probe", "say by the exit code if the switch answers"),
    Verb("ping", "TARGET [BYTES]", "ofctl_echo:ping", "measure the time of ten echos", 1, 2,
         facts="ofctl_echo:ping_facts"),
    Verb("benchmark", "TARGET BYTES COUNT", "ofctl_echo:benchmark", "measure the rate of echos", 3, 3,
         facts="ofctl_echo:benchmark_facts"),
)  # fmt: skip
VERBS: dict[str, Verb] = {verb.name: verb for verb in _TABLE}
