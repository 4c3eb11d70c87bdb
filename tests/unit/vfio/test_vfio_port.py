"""A VFIO port whole: options, device, memory, interrupts, link, removal and return, all but the hardware."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fakes.nic_models import Nic
from fakes.vfio_box import ModelKernel

from vswitchd.datapath.dp import ffi, lib
from vswitchd.ports.base import PortConfig, PortEnv, PortError
from vswitchd.ports.vfio import hub as hubs
from vswitchd.ports.vfio import port as ports
from vswitchd.ports.vfio.abi import Irq
from vswitchd.ports.vfio.uevents import PciEvent

A, B = "0000:01:00.0", "0000:02:00.0"


class Box:
    """A loop that is turned by hand, two NICs, and ports on them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
        self.nics = [Nic(kind, probe=False) for _ in range(2)]
        self.kernel = ModelKernel(*self.nics)
        self.loop = asyncio.new_event_loop()
        self.changes: list[str] = []
        self.env = PortEnv(
            self.loop, Path("/nonexistent"), lambda port: self.changes.append(port.config.name), cpus=3
        )
        monkeypatch.setattr(hubs, "LinuxKernel", lambda: self.kernel)
        monkeypatch.setattr(ports, "environment", self.kernel.environment)
        self.ports: list[ports.VfioPort] = []
        self.counters = ffi.new("struct vs_port_counters *")
        self.frames, self.lens = ffi.new("uint8_t[]", 32 * 10000), ffi.new("uint32_t[32]")

    def config(self, address: str = A, **fields: Any) -> PortConfig:
        """Configure a port."""
        words = {"pci": address, **fields.pop("options", {})}
        return PortConfig(f"eth{address[6]}", "vfio", words, **fields)

    def add(self, address: str = A, **fields: Any) -> ports.VfioPort:
        """Add a port."""
        self.ports.append(ports.VfioPort(self.config(address, **fields), self.env))
        return self.ports[-1]

    def turn(self) -> None:
        """Let the loop do what is ready."""
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.run_until_complete(asyncio.sleep(0))

    def rx(self, port: ports.VfioPort, rxq: int = 0) -> list[int]:
        """Lengths of what a core receives."""
        got = lib.vs_port_test_rx(port.handle, rxq, 32, self.frames, 10000, self.lens, self.counters)
        return list(self.lens[0:got])

    def close(self) -> None:
        """Stop all, and see that nothing is left."""
        for port in self.ports:
            port.stop()
            lib.vs_port_destroy(port.handle)
        for nic in self.nics:
            nic.close()
        self.loop.close()
        assert self.kernel.left() == []
        assert lib.vs_dma_base() == ffi.NULL


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[Box]:
    """Two igb NICs."""
    made = Box(monkeypatch, "igb")
    yield made
    made.close()


def device(box: Box, address: str = A) -> Any:
    """The fake device."""
    return box.kernel.devices[address]


def frame(size: int = 60) -> bytes:
    """A frame to everybody."""
    return b"\xff" * 6 + bytes(size - 6)


def test_runs(box: Box) -> None:
    """From the row to packets, and all is given back."""
    port = box.add()
    status = port.status()
    assert status.link_up
    assert status.info["driver_name"] == "igb"
    assert status.info["n_txq"] == "4"  # one for each CPU and the control thread
    assert (status.mtu, status.mac) == (1500, "02:00:00:00:00:01")
    assert status.speed_bps > 0
    assert box.nics[0].receive(frame(77)) == 1
    assert box.rx(port) == [77]
    assert status.metrics.keys() == port.status().metrics.keys() >= {("vs_nic_rx_missed_total", ())}
    assert device(box).bus_master
    port.stop()
    assert not device(box).bus_master
    assert box.kernel.left() == []


def test_two_ports_share_the_memory(box: Box) -> None:
    """What the second one adds stays when the first goes."""
    one, two = box.add(A), box.add(B)
    before = lib.vs_dma_n_buffers(0)
    one.stop()
    assert lib.vs_dma_n_buffers(0) == before
    box.nics[1].receive(frame())
    assert box.rx(two) == [60]
    two.stop()
    assert box.kernel.left() == []


def test_link_interrupt(box: Box) -> None:
    """The daemon hears of it, without waiting for the timer."""
    port = box.add()
    box.changes.clear()
    box.nics[0].set_link(False)
    box.turn()
    assert box.changes
    assert not port.status().link_up
    box.nics[0].set_link(True)
    box.turn()
    assert port.status().link_up


def test_reconfigured_in_place(box: Box) -> None:
    """Queues, descriptors and MTU by a short stop; another device takes a new port."""
    port = box.add()
    assert port.reconfigure(box.config(mtu_request=4000, n_rxq=2, options={"n_rxq_desc": "300"}))
    info = port.status().info
    assert (info["n_rxq"], info["interrupts"], port.status().mtu) == ("2", "3", 4000)
    assert int(info["n_rxq_desc"]) <= 300
    box.nics[0].receive(frame(3000))
    assert [n for q in (0, 1) for n in box.rx(port, q)] == [3000]
    assert not port.reconfigure(box.config(B))
    with pytest.raises(PortError):
        port.reconfigure(box.config(options={"n_rxq_desc": "x"}))
    assert port.status().mtu == 4000


def test_impossible_configuration_and_back(box: Box) -> None:
    """Too many queues: the port says so; with fewer it runs again."""
    port = box.add(n_rxq=16)
    assert "receive queues" in port.status().info["error"]
    assert not port.status().link_up
    assert port.reconfigure(box.config(n_rxq=1))
    port.pci_event(PciEvent(A, "bind", "vfio-pci"))
    assert port.status().link_up


def test_few_vectors(box: Box) -> None:
    """One interrupt is enough for one queue, and not for two."""
    device(box).irqs[Irq.MSIX] = 0
    port = box.add()
    assert port.status().info["interrupts"] == "1"
    assert port.reconfigure(box.config(n_rxq=2))
    assert "options:n_rxq=1" in port.status().info["error"]


def test_removed_and_back(box: Box) -> None:
    """The device is let go of at once; when it is back the port runs again by itself."""
    port = box.add()
    box.changes.clear()
    device(box).fire(Irq.REQ)
    box.turn()
    assert "waits for it to come back" in port.status().info["error"]
    assert box.changes == ["eth1"]
    assert box.kernel.left() == []
    port.pci_event(PciEvent(B, "bind", "vfio-pci"))
    assert port.status().info.get("error")
    port.pci_event(PciEvent(A, "bind", "vfio-pci"))
    assert port.status().link_up
    assert "error" not in port.status().info


def test_fault_costs_that_port_only(box: Box) -> None:
    """An IOMMU fault stops its port; the other goes on."""
    one, two = box.add(A), box.add(B)
    hubs.hub(box.loop)._fault(A, f"{A} was stopped by the IOMMU at address 0x1000")
    assert "IOMMU" in one.status().info["error"]
    assert two.status().link_up
    box.nics[1].receive(frame())
    assert box.rx(two) == [60]


def test_wrong_device(box: Box) -> None:
    """Which device it is, and what there is a driver for."""
    device(box).config[0:4] = bytes.fromhex("34127856")
    text = box.add().status().info["error"]
    assert "1234:5678" in text
    assert "igb" in text
    assert "\n" not in text


@pytest.mark.parametrize("step", range(60))
def test_every_step_may_fail(box: Box, step: int) -> None:
    """Whatever the kernel refuses costs this port only, with one line, and leaves nothing behind."""
    two = box.add(B)
    before = len(box.kernel.calls)
    box.kernel.fail_at(before + step, 12)
    one = box.add(A)
    text = one.status().info.get("error", "")
    assert "\n" not in text
    box.kernel._fail_at.clear()
    box.nics[1].receive(frame())
    assert box.rx(two) == [60]
    if text:
        one.pci_event(PciEvent(A, "bind", "vfio-pci"))
    assert one.status().link_up


def test_dead_device(box: Box) -> None:
    """All ones in its registers: the port lets go of it, and tries again by itself."""
    port = box.add()
    box.nics[0].pull()
    port._tick()
    assert "does not answer" in port.status().info["error"]
    port._retry()
    assert port.status().info["error"]
    box.nics[0].pull(gone=False)
    port._retry()
    assert port.status().link_up


def test_reset_before_dma(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a killed switch left running is reset before it may write to memory again."""
    masters: list[bool] = []

    class Spy:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def vs_nic_probe(self, *words: Any) -> Any:
            masters.append(device(box).bus_master)
            return lib.vs_nic_probe(*words)

    monkeypatch.setattr(ports, "lib", Spy())
    assert box.add().status().link_up
    assert masters == [False]
    assert device(box).bus_master


@pytest.mark.parametrize("again", [False, True])
def test_a_bug_costs_the_port_only(box: Box, monkeypatch: pytest.MonkeyPatch, again: bool) -> None:
    """Whatever is raised on the way, nothing stays open, and the port says so."""
    port = box.add() if again else None
    wish = ports.VfioPort._wish
    monkeypatch.setattr(ports.VfioPort, "_wish", lambda *_: 1 // 0)
    if port is None:
        port = box.add()
    else:
        assert port.reconfigure(box.config(mtu_request=2000))
    assert "log has the details" in port.status().info["error"]
    assert box.kernel.left() == []
    monkeypatch.setattr(ports.VfioPort, "_wish", wish)
    port._retry()
    assert port.status().link_up


def test_dies_at_the_first_look(box: Box, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reason is kept."""

    class Dead:
        def __getattr__(self, name: str) -> Any:
            return getattr(lib, name)

        def vs_nic_irq(self, _handle: Any) -> int:
            dead: int = lib.VS_NIC_IRQ_DEAD
            return dead

    monkeypatch.setattr(ports, "lib", Dead())
    assert "does not answer" in box.add().status().info["error"]
    assert box.kernel.left() == []
