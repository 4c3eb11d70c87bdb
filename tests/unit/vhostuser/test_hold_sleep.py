"""Packets that wait for a translation and cores that sleep: who wakes whom; and the reverse ARP that wakes them, too."""

import os

import pytest
from fakes.iommu_port import PAGE, IommuPort
from fakes.loose_port import eventfd_count
from fakes.mock_guest import Guest, Region, Ring
from iommu_rings import ledger, post_fresh, receiver
from vhostuser_frames import frame

from vswitchd.datapath.dp import lib

MAC = bytes.fromhex("020000000042")


@pytest.fixture
def port():
    made = IommuPort(Guest([Region(0, 0x7F0000000000, 32 << 20)]))
    yield made
    made.close()


class TestSleep:
    """What rx_arm answers, and what rings the kick descriptor: a core may sleep while a ring waits, and wakes for the answer."""

    def test_a_ring_that_waits_lets_the_core_sleep(self, port, eventfd):
        kick = eventfd()
        ring = Ring(port.guest, 16)
        port.start_known(1, ring, kick=kick)
        page = port.guest.alloc(PAGE, PAGE)
        ring.chain([(page, 72)])
        assert lib.vs_port_test_arm(port.handle, 0) == 1, "there is work"
        lib.vs_port_test_disarm(port.handle, 0)
        port.rx()
        assert lib.vs_port_test_arm(port.handle, 0) == 0, "a ring that waits keeps the core awake"
        assert eventfd_count(kick) == 0
        port.map(page)
        assert eventfd_count(kick) == 1, "the answer wakes nobody"
        assert len(port.rx()) == 1

    def test_an_answer_between_poll_and_sleep_is_not_missed(self, port, eventfd):
        ring = Ring(port.guest, 16)
        port.start_known(1, ring, kick=eventfd())
        page = port.guest.alloc(PAGE, PAGE)
        ring.chain([(page, 72)])
        port.rx()
        port.map(page)
        assert lib.vs_port_test_arm(port.handle, 0) == 1

    def test_updates_that_nobody_waits_for_wake_nobody(self, port, eventfd):
        kick = eventfd()
        port.start_known(1, Ring(port.guest, 16), kick=kick)
        port.rx()
        port.map(0x100000)
        assert eventfd_count(kick) == 0

    def test_packets_that_wait(self, port, eventfd):
        kick = eventfd()
        port.start_known(1, Ring(port.guest, 16), kick=kick)
        ring = receiver(port)
        (page,) = post_fresh(ring, 1)
        port.tx(frame(60))
        assert lib.vs_port_test_arm(port.handle, 0) == 0
        port.map(page)
        assert eventfd_count(kick) > 0
        assert lib.vs_port_test_arm(port.handle, 0) == 1
        port.rx()
        assert lib.vs_port_test_arm(port.handle, 0) == 0
        assert ledger(port) == (1, 0, 0)

    def test_a_port_without_a_receive_ring_wakes_its_core_by_a_descriptor_of_ours(self, port):
        ring = receiver(port)
        (page,) = post_fresh(ring, 1)
        port.tx(frame(60))
        fd = lib.vs_port_test_rx_fd(port.handle, 0)
        assert fd >= 0
        lib.vs_port_test_disarm(port.handle, 0)
        port.map(page)
        assert os.eventfd_read(fd) > 0


class TestReverseArp:
    def test_one_request_as_if_the_guest_had_sent_it(self, port):
        """RFC 903: broadcast, sender and target are the guest."""
        lib.vs_vhost_send_rarp(port.handle, MAC)
        (got,) = port.rx()
        assert got[:14] == b"\xff" * 6 + MAC + b"\x80\x35"
        assert got[14:42] == bytes.fromhex("0001080006040003") + MAC + bytes(4) + MAC + bytes(4)
        assert len(got) == 60
        assert got[42:] == bytes(18)
        assert (port.counters.rx_packets, port.counters.rx_bytes) == (1, 60)
        assert port.rx() == []

    def test_other_queues_do_not_send_it(self, port):
        lib.vs_vhost_send_rarp(port.handle, MAC)
        assert port.rx(1) == []
        assert len(port.rx(0)) == 1

    def test_it_wakes_the_core(self, port, eventfd):
        kick = eventfd()
        ring = Ring(port.guest, 16)
        port.start_known(1, ring, kick=kick)
        assert lib.vs_port_test_arm(port.handle, 0) == 0
        lib.vs_vhost_send_rarp(port.handle, MAC)
        assert eventfd_count(kick) == 1
        assert lib.vs_port_test_arm(port.handle, 0) == 1

    def test_received_frames_follow_it(self, port):
        ring = Ring(port.guest, 16)
        port.start_known(1, ring)
        port.map(0, 4 << 20)
        ring.send(frame(60))
        lib.vs_vhost_send_rarp(port.handle, MAC)
        assert port.rx()[0][12:14] == b"\x80\x35"
        assert port.rx() == [frame(60)]
        assert len(ring.take()) == 1
