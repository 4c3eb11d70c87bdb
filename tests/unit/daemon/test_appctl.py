"""vsappctl's commands: text in Open vSwitch's layout, the same as data, errors with exit code 2."""

import json
from types import SimpleNamespace

import pytest

from vswitchd import appctl_main
from vswitchd.errors import VsError
from vswitchd.log import Log


class Asker:
    def __init__(self, bench):
        self.table = appctl_main.table()
        self.stopped = []
        self.daemon = SimpleNamespace(
            reconciler=bench.reconciler,
            datapath=bench.datapath,
            log=Log(),
            version="1.2.3",
            stop=self.stopped.append,
        )

    async def __call__(self, command, *args):
        answer = await self.table.rpc(self.daemon, {"command": command, "args": list(args)})
        json.dumps(answer["data"])
        return answer["text"], answer["data"]


@pytest.fixture
def ask(switch):
    def run(test):
        async def main(bench):
            bench.bridge("br0", ("p1", {}, {}), ("p2", {}, {}))
            bench.reconciler.apply()
            asker = Asker(bench)
            try:
                await test(asker, bench)
            finally:
                asker.daemon.log.close()

        switch(main)

    return run


def test_fdb(ask):
    async def test(ask, bench):
        text, data = await ask("fdb/show", "br0")
        assert text == " port  VLAN  MAC                Age\n    1     0  02:00:00:00:00:01    7"
        assert data == [{"bridge": "br0", "port": 1, "vlan": 0, "mac": "02:00:00:00:00:01", "age": 7}]
        assert "Total number of learned MAC entries     : 5" in (await ask("fdb/stats-show", "br0"))[0]
        assert (await ask("fdb/flush", "br0"))[0] == "table successfully flushed"
        assert (await ask("fdb/show"))[0] == " port  VLAN  MAC                Age"

    ask(test)


def test_the_ledger_names_every_drop_and_says_whether_it_closes(ask):
    async def test(ask, bench):
        count = bench.datapath.attached["p1"].count
        count.rx_packets, count.rx_forwarded, count.rx_drops = 100, 90, {"table_miss": 10}
        count.tx_offered, count.tx_packets, count.tx_drops = 50, 48, {"ring_full": 2}
        text, data = await ask("drops", "p1")
        assert data[0]["closes"] is True
        assert "drop table_miss" in text
        assert "the ledger closes" in text
        count.rx_forwarded = 89
        text, data = await ask("drops", "p1")
        assert (data[0]["closes"], data[0]["rx_open"]) == (False, 1)
        assert len((await ask("drops"))[1]) == 3

    ask(test)


def test_core_commands(ask):
    async def test(ask, bench):
        text, data = await ask("dpif-netdev/pmd-perf-show", "-nh", "-pmd", "2")
        assert text.startswith("pmd thread numa_id 0 core_id 2:\n\n  Iterations:")
        assert "core_id 1" not in text
        assert f"{'  - EMC hits:':<22}{990:>12}  ( 99.0 %)" in text
        assert data[0]["cycles_per_packet"] == 600
        assert data[0]["busy_percent"] == 60
        text, data = await ask("dpif-netdev/pmd-rxq-show")
        assert "  port: p1                queue-id:  0 (enabled)   pmd usage: 25 %" in text
        assert "processing cycles: 600000 (60.00%)" in (await ask("dpif-netdev/pmd-stats-show"))[0]
        assert (await ask("dpif/show"))[0].splitlines()[:2] == [
            "netdev@vswitchd: hit:2970 missed:30",
            "  br0:",
        ]
        assert (await ask("ofproto/list"))[0] == "br0"

    ask(test)


def test_process_commands(ask):
    async def test(asker, bench):
        assert (await asker("version"))[0] == "vswitchd 1.2.3"
        assert "fdb/show" in (await asker("list-commands"))[0]
        assert (await asker("memory/show"))[1]["ports"] == 3
        await asker("vlog/set", "reconcile:file:dbg")
        rows = (await asker("vlog/list"))[1]
        assert {"module": "reconcile", "console": "info", "syslog": "off", "file": "dbg"} in rows
        await asker("exit")
        assert asker.stopped == ["vsappctl exit"]

    ask(test)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("nosuch/command",), "is not a valid command"),
        (("fdb/show", "nosuch"), "no such bridge"),
        (("drops", "nosuch"), "no running port named nosuch"),
        (("version", "x"), "takes at most 0 arguments"),
        (("vlog/set", "nosuch:x:y"), "no destination, level, or module"),
        (("dpif-netdev/pmd-perf-show", "-pmd", "x"), "-pmd needs a number"),
        (("dpif-netdev/pmd-perf-show", "-z"), "unknown option"),
    ],
)
def test_errors_are_one_line_with_exit_code_2(ask, words, text):
    async def test(ask, bench):
        with pytest.raises(VsError, match=text) as caught:
            await ask(*words)
        assert caught.value.exit_code == 2
        assert "\n" not in str(caught.value)

    ask(test)


def test_a_request_that_makes_no_sense_is_refused(ask):
    async def test(ask, bench):
        for params in (
            {},
            {"command": 1},
            {"command": "version", "args": "x"},
            {"command": "version", "args": [1]},
        ):
            with pytest.raises(VsError):
                await ask.table.rpc(ask.daemon, params)

    ask(test)
