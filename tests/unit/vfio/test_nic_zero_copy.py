"""From NIC to NIC through the whole datapath: the payload stays where it was received; with other receivers it is copied."""

import struct
from collections.abc import Iterator
from typing import Any

import pytest
from fakes.nic_models import BIG, BUFFERS, IOVA, KINDS, RINGS, Nic, dma_window

from vswitchd.datapath import dp
from vswitchd.datapath.dp import ffi, lib

MARK = bytes(range(65, 91)) * 20


class Switch:
    """A manual datapath with two NICs (ports 1, 2), on one bridge, or on two with a patch cable (port 5) between."""

    def __init__(self, kind: str, *, apart: bool = False) -> None:
        self.dp = dp.Datapath(4096, manual=True)
        self.bridge = self.dp.create_bridge("br0")
        self.far = self.dp.create_bridge("br1") if apart else self.bridge
        self.nics = [Nic(kind, slot=slot) for slot in range(2)]
        for number, nic in enumerate(self.nics, start=1):
            nic.start(mtu=9000)
            bridge = self.bridge if number == 1 else self.far
            self.dp.attach(nic.handle, bridge, number, f"nic{number}").set_link(True)
        if apart:
            ends = [
                self.dp.attach(lib.vs_patch_port_new(name), bridge, 5, name.decode())
                for name, bridge in ((b"pa", self.bridge), (b"pb", self.far))
            ]
            ends[0].set_patch_peer(ends[1])
            ends[1].set_patch_peer(ends[0])
        self.dp.rebalance()

    def rule(self, *actions: dp.Action, in_port: int = 1, bridge: dp.DpBridge | None = None) -> None:
        """What happens to what comes in by a port."""
        bridge = bridge or self.bridge
        bridge.add_rule(dp.RuleSpec(0, 10, (("IN_PORT", in_port, 0xFFFFFFFF),), apply=actions))
        bridge.commit()

    def close(self) -> None:
        """Stop the NICs, then the datapath, which frees them."""
        for nic in self.nics:
            nic.stop()
        self.dp.close()
        for nic in self.nics:
            nic.handle = ffi.NULL
            nic.close()


@pytest.fixture(params=KINDS)
def switch(request: pytest.FixtureRequest) -> Iterator[Switch]:
    """The switch; every buffer must come back."""
    with dma_window():
        made = Switch(request.param)
        yield made
        made.close()


@pytest.fixture(params=KINDS)
def apart(request: pytest.FixtureRequest) -> Iterator[Switch]:
    """The same over two bridges."""
    with dma_window():
        made = Switch(request.param, apart=True)
        yield made
        made.close()


def copies() -> int:
    """How often the payload stands in the buffers. It is wiped at the end of each test with the window."""
    return bytes(ffi.buffer(ffi.cast("uint8_t *", lib.vs_dma_base()), BUFFERS)).count(MARK)


def data(size: int = 1400) -> bytes:
    """A frame whose payload is known, behind what is copied as its head."""
    body = bytes.fromhex("02000000000102000000009988b5") + bytes(280) + MARK
    return body + bytes(size - len(body))


def test_payload_stays(switch: Switch) -> None:
    """One port: the buffer is handed over."""
    switch.rule(dp.output(2))
    assert switch.nics[0].receive(data()) == 1
    assert copies() == 1
    switch.dp.poll()
    assert copies() == 1
    assert [frame for _, frame in switch.nics[1].taken()] == [data()]


def test_payload_stays_while_the_head_grows(switch: Switch) -> None:
    """Two tags pushed: the head, longer now, stands in front of the payload."""
    switch.rule(dp.push_vlan(0x8100), dp.push_vlan(0x88A8), dp.output(2))
    switch.nics[0].receive(data())
    switch.dp.poll()
    assert copies() == 1
    assert [frame for _, frame in switch.nics[1].taken()] == [
        data()[:12] + bytes.fromhex("88a8000081000000") + data()[12:]
    ]


def test_jumbo_stays(switch: Switch) -> None:
    """A chain of buffers is handed over whole."""
    switch.rule(dp.output(2))
    switch.nics[0].receive(data(9000))
    switch.dp.poll()
    assert copies() == 1
    assert [frame for _, frame in switch.nics[1].taken()] == [data(9000)]


def test_bad_frames_only(switch: Switch) -> None:
    """A queue that hears nothing but runts for long still takes the good ones that follow."""
    switch.rule(dp.output(2))
    for _ in range(300):
        switch.nics[0].receive(bytes(13))
        switch.dp.poll()
    for _ in range(20):
        assert switch.nics[0].receive(data()) == 1
        switch.dp.poll()
    assert len(switch.nics[1].taken()) == 20


def test_two_receivers(switch: Switch) -> None:
    """To the other NIC and to a port that reads the payload later: neither takes it from the other."""
    switch.rule(dp.output(2), dp.output(3))
    other = lib.vs_test_port_new(b"other", 1, 64)
    switch.dp.attach(other, switch.bridge, 3, "other").set_link(True)
    switch.nics[0].receive(data())
    switch.dp.poll()
    assert copies() == 2
    assert [frame for _, frame in switch.nics[1].taken()] == [data()]
    to = ffi.new("uint8_t[2000]")
    assert lib.vs_test_port_take(other, to, 2000) == 1400
    assert bytes(to[0:1400]) == data()


def test_edited_copy_after_the_first_output(switch: Switch) -> None:
    """A copy shares the payload, so the buffer stays; both are right."""
    switch.rule(dp.output(2), dp.push_vlan(0x8100), dp.output(2))
    switch.nics[0].receive(data())
    switch.dp.poll()
    assert [frame for _, frame in switch.nics[1].taken()] == [
        data(),
        data()[:12] + bytes.fromhex("81000000") + data()[12:],
    ]


def test_through_patch_ports(apart: Switch) -> None:
    """A bridge in between, which edits, does not cost a copy."""
    apart.rule(dp.output(5))
    apart.rule(dp.push_vlan(0x8100), dp.output(2), in_port=5, bridge=apart.far)
    apart.nics[0].receive(data())
    apart.dp.poll()
    assert copies() == 1
    assert [frame for _, frame in apart.nics[1].taken()] == [
        data()[:12] + bytes.fromhex("81000000") + data()[12:]
    ]


TINY = 51
"""Parts of a frame: as many as a packet holds."""


def tiny_parts(memory: Any, ring: int, size: int, at: int) -> None:
    """A hostile virtio device: one frame, of 20 bytes and then 3 at a time, a buffer for each part."""
    avail, used = ring + 16 * size, ring + 18 * size + 64
    for part in range(TINY):
        place = (at + part) % size
        (head,) = struct.unpack_from("<H", memory, avail + 4 + 2 * place)
        (address,) = struct.unpack_from("<Q", memory, ring + 16 * head)
        if part == 0:
            start = address - IOVA
            memory[start : start + 12] = bytes(10) + TINY.to_bytes(2, "little")
        struct.pack_into("<II", memory, used + 4 + 8 * place, head, 32 if part == 0 else 3)
    struct.pack_into("<H", memory, used + 2, (at + TINY) & 0xFFFF)


@pytest.mark.parametrize("switch", ["virtio_net"], indirect=True)
def test_a_device_cannot_hold_all_buffers(switch: Switch) -> None:
    """Frames of many tiny parts are copied: a transmit ring keeps no more buffers than it has descriptors."""
    hostile, other = switch.nics
    switch.rule(dp.output(2))
    hostile.stop()
    hostile.start(mtu=9000, rx_desc=256)
    memory = ffi.buffer(ffi.cast("uint8_t *", lib.vs_dma_base()), BUFFERS + BIG + RINGS)
    before = lib.vs_dma_n_free_buffers(0)
    for turn in range(20):
        tiny_parts(memory, BUFFERS + BIG, 256, turn * TINY)
        switch.dp.poll()
    assert before - lib.vs_dma_n_free_buffers(0) < 200
    assert len(other.taken()) == 20
