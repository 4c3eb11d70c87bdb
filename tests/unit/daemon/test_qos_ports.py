"""QoS from rows to ports: applied, kept when the new one is wrong, shown; policing; metrics."""

from types import SimpleNamespace

from vswitchd import appctl_main, metrics
from vswitchd.datapath.qos_spec import QosKind, QosSpec, QueueSpec


def give(bench, kind="linux-htb", rate="10000000", queues=("1",)):
    """Give port p1 a QoS in place of the one it has."""

    def change(txn):
        rows = {
            int(i): txn.insert("Queue", {"other_config": (("max-rate", "4000000"),)}).uuid for i in queues
        }
        values = {"type": (kind,), "other_config": (("max-rate", rate),), "queues": tuple(rows.items())}
        qos = txn.insert("QoS", values)
        txn.update(txn.view.by_name("Port", "p1"), {"qos": (qos.uuid,)})

    bench.store.transact(change)
    bench.reconciler.apply()


WANTED = QosSpec(10_000_000, (QueueSpec(1, max_rate=4_000_000),))


def start(bench, **interface):
    bench.bridge("br0", ("p1", interface, {}))
    bench.reconciler.apply()
    return bench.datapath.attached["p1"]


def error(bench):
    return bench.store.snapshot().by_name("Interface", "p1")["error"]


def test_a_port_gets_changes_and_loses_its_qos(switch):
    async def test(bench):
        handle = start(bench)
        assert handle.qos is None
        give(bench)
        assert handle.qos == WANTED
        give(bench, queues=("1", "2"))
        assert [q.id for q in handle.qos.queues] == [1, 2]
        bench.set("Port", "p1", qos=())
        bench.reconciler.apply()
        assert handle.qos is None

    switch(test)


def test_a_wrong_qos_is_told_and_the_old_one_stays(switch):
    async def test(bench):
        handle = start(bench)
        give(bench)
        give(bench, rate="fast")
        assert handle.qos == WANTED
        assert error(bench).startswith('QoS: other_config:max-rate "fast" is not a number')
        give(bench, "linux-fq_codel")
        assert handle.qos == WANTED
        assert 'type "linux-fq_codel" is not supported' in error(bench)
        give(bench, rate="5")
        assert handle.qos.max_rate == 5
        assert error(bench) is None

    switch(test)


def test_a_port_that_is_made_anew_has_its_qos(switch):
    async def test(bench):
        start(bench)
        give(bench)
        bench.set("Interface", "p1", options=(("new", "yes"),))
        bench.reconciler.apply()
        assert bench.datapath.attached["p1"].qos == WANTED

    switch(test)


def test_policing_of_what_an_interface_receives(switch):
    async def test(bench):
        handle = start(bench, ingress_policing_rate=(1000,))
        assert handle.policing == (1_000_000, 8_000_000)
        bench.set("Interface", "p1", ingress_policing_burst=(100,))
        bench.reconciler.apply()
        assert handle.policing == (1_000_000, 100_000)
        bench.set("Interface", "p1", ingress_policing_rate=(0,))
        bench.reconciler.apply()
        assert handle.policing == (0, 0)

    switch(test)


def daemon(bench):
    return SimpleNamespace(
        reconciler=bench.reconciler, datapath=bench.datapath, store=bench.store, version="1", started=1.0,
        ready=lambda: True,
    )  # fmt: skip


def test_qos_show(switch):
    async def show(bench, port="p1"):
        answer = await appctl_main.table().rpc(daemon(bench), {"command": "qos/show", "args": [port]})
        return answer["text"], answer["data"]

    async def test(bench):
        handle = start(bench)
        assert (await show(bench))[0] == "QoS not configured on p1"
        give(bench, queues=("0", "1"))
        text, data = await show(bench)
        counts = "  tx_packets: 7\n  tx_bytes: 700\n  tx_errors: 2\n  waiting_packets: 1\n  waiting_bytes: "
        assert text == (
            "QoS: p1 linux-htb\nmax-rate: 10000000\n\n"
            f"Default:\n  max-rate: 4000000\n{counts}60\n\nQueue 1:\n  max-rate: 4000000\n{counts}61"
        )
        assert [q["queue"] for q in data["queues"]] == [0, 1]
        assert data["queues"][1]["statistics"]["waiting_bytes"] == 61
        give(bench, "egress-policer")
        assert handle.qos.kind is QosKind.SHAPE  # no cir: refused, the old one stays

    switch(test)


def test_metrics_of_queues(switch):
    async def test(bench):
        start(bench)
        give(bench)
        samples = {
            (sample.name, sample.labels.get("queue")): sample.value
            for family in metrics.Collector(daemon(bench)).collect()
            for sample in family.samples
            if sample.labels.get("port") == "p1" and ("queue" in sample.name or "waiting" in sample.name)
        }
        assert samples == {
            ("vs_port_waiting_packets", None): 1,
            ("vs_queue_packets_total", "1"): 7,
            ("vs_queue_bytes_total", "1"): 700,
            ("vs_queue_dropped_packets_total", "1"): 2,
            ("vs_queue_waiting_packets", "1"): 1,
            ("vs_queue_waiting_bytes", "1"): 61,
        }

    switch(test)
