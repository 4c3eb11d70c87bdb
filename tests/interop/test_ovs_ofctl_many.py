"""Debian's ovs-ofctl puts 100,000 flows into our switch, compares, replaces and deletes them."""

import tempfile
from pathlib import Path

import pytest
from peers import need
from peers.netns import unique
from peers.ofctl import Ofctl
from peers.switch import Switch

pytestmark = pytest.mark.interop

FLOWS = 100_000
SECONDS = 400  # for one command, on a machine that does other things as well
IP = "ffffffffffff02000000000108004500001400000000401100000a000001"  # the destination comes next
TABLES = 4


def flow(number, *, port):
    """Every destination has a flow of its own, in one of four tables, with one of seven priorities."""
    address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
    return f"table={number % TABLES},priority={number % 7 + 1},ip,nw_dst={address},actions=output:{port}\n"


@pytest.mark.timeout(1200)
def test_a_hundred_thousand_flows():
    need.need_program("ovs-ofctl")
    with tempfile.TemporaryDirectory(prefix="vsi") as place, Switch(Path(place) / "state") as switch:
        bridge = unique("of")
        switch.add_bridge(bridge, secure=True)
        ofctl = Ofctl(f"unix:{switch.run_dir}/{bridge}.mgmt")
        first, second = Path(place) / "first", Path(place) / "second"
        first.write_text("".join(flow(i, port=1 + i % 8) for i in range(FLOWS)))
        ofctl("add-flows", first, timeout=SECONDS)
        assert f"flow_count={FLOWS}" in ofctl("dump-aggregate")
        dumped = ofctl("--no-stats --no-names dump-flows", timeout=SECONDS)
        assert dumped.count("actions=output:") == FLOWS
        assert ofctl("diff-flows", first, timeout=SECONDS) == ""

        # A packet finds the one that is for it, in table 0.
        number = FLOWS // 2
        packet = IP + bytes([10, number >> 16, number >> 8 & 255, number & 255]).hex() + "00" * 26
        ofctl("packet-out", f"in_port=LOCAL,packet={packet},actions=TABLE")
        found = ofctl("dump-flows", f"table=0,ip,nw_dst=10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
        assert found.count("actions=") == 1
        assert "n_packets=1" in found

        # A tenth goes, a tenth comes, and of the rest a tenth gets other actions, in one bundle.
        second.write_text(
            "".join(
                flow(i, port=9 if i % 10 == 0 else 1 + i % 8) for i in range(FLOWS // 10, FLOWS * 11 // 10)
            )
        )
        ofctl("--bundle replace-flows", second, timeout=SECONDS)
        assert ofctl("diff-flows", second, timeout=SECONDS) == ""
        assert f"flow_count={FLOWS // 10}" in ofctl("dump-aggregate", "out_port=9")
        ofctl("del-flows", "table=1", timeout=SECONDS)
        assert f"flow_count={FLOWS * 3 // TABLES}" in ofctl("dump-aggregate")
        ofctl("del-flows", timeout=SECONDS)
        assert "flow_count=0" in ofctl("dump-aggregate")
