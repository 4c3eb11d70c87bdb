"""The metrics page: names, labels and values; only drops that happened; HTTP that withstands nonsense."""

import asyncio
from types import SimpleNamespace

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from vswitchd import metrics
from vswitchd.errors import ConfigError, PathError
from vswitchd.metrics_http import Address, MetricsServer, parse_address
from vswitchd.ports.base import PortStatus

BIND = Address("127.0.0.1", 0)


async def http(address, request):
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    data = await reader.read()
    writer.close()
    head, _, body = data.partition(b"\r\n\r\n")
    return head.decode(), body.decode()


def samples(text):
    result = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            result[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return result


@pytest.fixture
def page(switch):
    def run(test):
        async def main(bench):
            bench.bridge("br0", ("p1", {"external_ids": (("iface-id", "lsp1"), ("vm-uuid", "vm1"))}, {}))
            bench.add_port("br0", "bad", {"options": (("fail", "no"),)})
            bench.reconciler.apply()
            daemon = SimpleNamespace(
                reconciler=bench.reconciler,
                datapath=bench.datapath,
                store=bench.store,
                version="1.2.3",
                started=1.5,
                ready=lambda: bench.reconciler.applied_once,
            )
            server = MetricsServer(metrics.registry(daemon), daemon.ready)
            await server.start(BIND)
            try:
                await test(server, bench)
            finally:
                await server.close()

        switch(main)

    return run


def test_the_page_has_the_ledger_of_every_port(page):
    async def test(server, bench):
        count = bench.datapath.attached["p1"].count
        count.rx_packets, count.rx_forwarded, count.rx_drops = 100, 90, {"table_miss": 10, "runt": 0}
        count.tx_offered, count.tx_packets, count.tx_drops = 50, 48, {"ring_full": 2}
        bench.driver("p1").now = PortStatus(
            link_up=True,
            measure=lambda: {("vs_vhost_connected", ()): 1, ("vs_vhost_kicks_total", (("ring", "0"),)): 5},
        )
        bench.reconciler.publish()
        head, body = await http(server.address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
        assert head.startswith("HTTP/1.1 200 OK")
        seen = samples(body)
        port = (("port", "p1"),)
        assert seen["vs_port_receive_packets_total", port] == 100
        assert seen["vs_port_forwarded_packets_total", port] == 90
        assert seen["vs_port_transmit_packets_total", port] == 48
        drops = {k[1]: v for k, v in seen.items() if k[0] == "vs_port_drops_total"}
        assert drops == {
            (("direction", "receive"), ("port", "p1"), ("reason", "table_miss")): 10,
            (("direction", "transmit"), ("port", "p1"), ("reason", "ring_full")): 2,
        }
        assert seen["vs_port_up", port] == 1
        assert seen["vs_port_up", (("port", "bad"),)] == 0
        assert seen["vs_port_error", (("port", "bad"),)] == 1
        assert seen["vs_vhost_connected", port] == 1
        assert seen["vs_vhost_kicks_total", (("port", "p1"), ("ring", "0"))] == 5
        info = next(
            dict(labels) for name, labels in seen if name == "vs_port_info" and ("port", "p1") in labels
        )
        assert (info["bridge"], info["owner"], info["vm"], info["type"]) == ("br0", "lsp1", "vm1", "fake")

    page(test)


def test_cores_cache_and_process(page):
    async def test(server, bench):
        seen = samples((await http(server.address, b"GET /metrics HTTP/1.1\r\n\r\n"))[1])
        states = {dict(k[1])["state"] for k in seen if k[0] == "vs_core_cycles_total"}
        assert states == {"busy", "idle", "sleep"}
        assert seen["vs_core_packets_total", (("core", "1"),)] == 1000
        assert seen["vs_lookup_hits_total", (("core", "1"), ("layer", "cache"))] == 990
        assert seen["vs_cache_evictions_total", (("core", "1"),)] == 1
        assert seen["vs_config_generation", (("state", "applied"),)] == 2
        assert seen["vs_up", ()] == 1
        assert seen["vs_classifier_masks", (("bridge", "br0"),)] == 2
        assert seen["vs_core_longest_round_seconds", (("core", "1"),)] == pytest.approx(5e-6)
        assert bench.datapath.harvested == 1

    page(test)


def test_openmetrics_on_request_is_valid(page):
    async def test(server, bench):
        request = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text; version=1.0.0\r\n\r\n"
        head, body = await http(server.address, request)
        assert "application/openmetrics-text" in head
        assert body.endswith("# EOF\n")
        names = {family.name for family in parse_openmetrics(body)}
        assert "vs_port_receive_packets" in names

    page(test)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        (b"GET /-/healthy HTTP/1.1\r\n\r\n", 200),
        (b"GET /-/ready HTTP/1.1\r\n\r\n", 200),
        (b"HEAD /metrics HTTP/1.1\r\n\r\n", 200),
        (b"GET / HTTP/1.0\r\n\r\n", 200),
        (b"GET /metrics?x=y HTTP/1.1\r\n\r\n", 200),
        (b"GET /nosuch HTTP/1.1\r\n\r\n", 404),
        (b"POST /metrics HTTP/1.1\r\n\r\n", 405),
        (b"nonsense\r\n\r\n", 400),
        (b"\xff\xfe\x00 / HTTP/1.1\r\n\r\n", 405),
        (b"\r\n\r\n", 400),
    ],
)
def test_requests(page, request_text, status):
    async def test(server, bench):
        head, body = await http(server.address, request_text)
        assert head.startswith(f"HTTP/1.1 {status} ")
        assert not (request_text.startswith(b"HEAD") and body)

    page(test)


def test_a_request_that_is_too_long_only_loses_its_connection(page):
    async def test(server, bench):
        head, _ = await http(server.address, b"GET / HTTP/1.1\r\n" + b"x" * 20000 + b"\r\n\r\n")
        assert head == ""
        assert (await http(server.address, b"GET /-/healthy HTTP/1.1\r\n\r\n"))[1] == "healthy\n"

    page(test)


def test_not_ready_before_the_first_configuration():
    async def main():
        server = MetricsServer(metrics.CollectorRegistry(), lambda: False)
        await server.start(BIND)
        head, _ = await http(server.address, b"GET /-/ready HTTP/1.1\r\n\r\n")
        await server.close()
        assert head.startswith("HTTP/1.1 503 ")

    asyncio.run(main())


def test_an_address_in_use_is_one_clear_error():
    async def main():
        first, second = (MetricsServer(metrics.CollectorRegistry(), lambda: True) for _ in range(2))
        await first.start(BIND)
        with pytest.raises(PathError, match=r"cannot listen on 127\.0\.0\.1"):
            await second.start(first.address)
        await first.close()

    asyncio.run(main())


def test_addresses():
    assert parse_address("none") is None
    assert parse_address("127.0.0.1:80") == Address("127.0.0.1", 80)
    assert parse_address("[::1]:80") == Address("::1", 80)
    assert parse_address(":80") == Address("0.0.0.0", 80)
    for bad in ("", "80", "host", "host:", "host:x", "host:65536", "::1:80", "host:-1"):
        with pytest.raises(ConfigError, match="HOST:PORT"):
            parse_address(bad)
