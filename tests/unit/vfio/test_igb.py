"""What is particular to igb: its families, registers, context descriptors, pause frames, and devices that misbehave."""

import errno
import os
import select
from typing import Any

import pytest
import test_nic_drivers as generic
import test_nic_offloads as offloads
from fakes.nic_frames import flow, frame, partial, sent
from fakes.nic_models import CSUM_GOOD, ERROR, IOVA, Nic, Refused

from vswitchd.datapath.dp import ffi, lib

I350, I210, VF, I350_VF, SERDES = 1, 2, 3, 4, 5
MUTE, REFUSE, NO_MAC, RESET, GONE, CHATTY, STUCK = (0x100 << bit for bit in range(7))

CTRL, STATUS, CTRL_EXT, TEST = 0x0000, 0x0008, 0x0018, 0x3FF0
RAL, RLPML, FCRTL, FCRTH, SW_FW_SYNC, SWSM, RETA = 0x5400, 0x5004, 0x2160, 0x2168, 0x5B5C, 0x5B50, 0x5C00
RX, TX = 0xC000, 0xE000
BASE, LENGTH, SPLIT, TAIL, CONTROL = 0x00, 0x08, 0x0C, 0x18, 0x28
DONE, END, BAD = 1, 2, 1 << 31
REPORT = 1 << 27


def read(nic: Nic, register: int) -> int:
    """Read a register as the driver does."""
    hook = nic.env.bars[0].hook
    return int(hook.read(hook.ctx, 0, register, 4))


def write(nic: Nic, register: int, value: int) -> None:
    """Write a register beside the driver; TEST is the model's own."""
    hook = nic.env.bars[0].hook
    hook.write(hook.ctx, 0, register, 4, value)


def ring(nic: Nic, queue: int, size: int = 256) -> Any:
    """The descriptors of a queue (by its first register), as pairs of 64-bit words."""
    at = read(nic, queue + BASE) | read(nic, queue + BASE + 4) << 32
    return ffi.cast(f"uint64_t[{2 * size}]", ffi.cast("char *", lib.vs_dma_base()) + (at - IOVA))


def written_back(nic: Nic, number: int, word: int) -> None:
    """A device writes a descriptor's second word without having been given a frame."""
    ring(nic, RX)[2 * number + 1] = word


@pytest.mark.parametrize("flags", [I350, I210, SERDES, VF, I350_VF, VF | CHATTY])
@pytest.mark.parametrize(
    "test",
    [
        generic.test_receives, generic.test_sends, generic.test_jumbo, generic.test_link,
        generic.test_receive_queues, generic.test_transmit_queues, offloads.test_receive_checksum,
        generic.test_stop_and_start, generic.test_receive_filter, generic.test_own_mac,
        generic.test_hardware_counters, generic.test_bar_too_small,
    ],
)  # fmt: skip
def test_families(nics: Any, flags: int, test: Any) -> None:
    """The other devices of the family do what the first does."""
    test(lambda kind, **how: nics(kind, flags, **how), "igb")


@pytest.mark.parametrize("flags", [I350, VF])
@pytest.mark.parametrize(
    ("test", "how"),
    [
        (generic.test_interrupts, (True,)),
        (generic.test_interrupts, (1,)),
        (generic.test_pulled_out, ()),
        (offloads.test_transmit_checksum, ("tcp", 6, 1)),
        (offloads.test_segmentation, (4, 0, (1400, 400))),
        *((generic.test_hostile_device, (seed,)) for seed in range(100, 105)),
    ],
)
def test_families_more(nics: Any, flags: int, test: Any, how: tuple[Any, ...]) -> None:
    """Interrupts, checksums, segments and hostility, where they might differ."""
    test(lambda kind, **words: nics(kind, flags, **words), "igb", *how)


@pytest.mark.parametrize("flags", [0, I350, I210])
def test_vector_of_each_queue(nics: Any, flags: int) -> None:
    """Each queue wakes by its own vector: the families disagree on where it stands."""
    nic = nics("igb", flags)
    nic.start(n_rxq=4, vectors=True)
    os.eventfd_read(nic.fds[-1])  # the link came up
    for queue in range(4):
        assert lib.vs_port_test_arm(nic.handle, queue) == 0
    for queue in range(4):
        assert nic.receive(frame(60), queue=queue) == 1
        fds = [fd for fd in nic.fds if select.select([fd], [], [], 0)[0]]
        assert fds == [nic.fds[queue]]
        lib.vs_port_test_disarm(nic.handle, queue)


def test_one_vector_of_several_queues(nics: Any) -> None:
    """Shared, it wakes for each queue, and once until somebody sleeps again."""
    nic = nics("igb")
    nic.start(n_rxq=2, vectors=1)
    os.eventfd_read(nic.fds[0])  # the link came up
    for turn in range(3):
        assert [lib.vs_port_test_arm(nic.handle, queue) for queue in range(2)] == [0, 0]
        assert nic.receive(frame(60), queue=turn % 2) == 1
        assert nic.receive(frame(60), queue=turn % 2) == 1
        assert os.eventfd_read(nic.fds[0]) == 1
        for queue in range(2):
            lib.vs_port_test_disarm(nic.handle, queue)
        assert len(nic.rx(turn % 2)) == 2


def test_indirection(nics: Any) -> None:
    """The table names the queues in turn; without RSS all comes to the first."""
    nic = nics("igb")
    nic.start(n_rxq=3)
    entries = b"".join(read(nic, RETA + i).to_bytes(4, "little") for i in range(0, 128, 4))
    assert list(entries) == [i % 3 for i in range(128)]
    nic.stop()
    nic.start(n_rxq=3, features_off=lib.VS_NIC_F_RSS)
    for number in range(10):
        assert nic.receive(flow(number)) == 1
    assert len(nic.rx(0)) == 10


def test_queue_registers(nics: Any) -> None:
    """Buffers of 2 KB; frames are dropped for want of them only where they would stop other queues."""
    nic = nics("igb")
    nic.start(mtu=9000)
    assert read(nic, RX + SPLIT) == 1 << 25 | 2
    assert (read(nic, RX + LENGTH), read(nic, RX + TAIL)) == (4096, 255)
    assert read(nic, RLPML) == 9000 + 14 + 8 + 4
    nic.receive(frame(60))
    assert nic.rx()
    assert read(nic, RX + TAIL) == 0
    nic.stop()
    assert not read(nic, RX + CONTROL) & 1 << 25
    nic.start(n_rxq=2)
    assert read(nic, RX + SPLIT) >> 31
    nic.stop()
    nic.start(n_rxq=2, flow_control=lib.VS_NIC_PAUSE_TX)
    assert not read(nic, RX + SPLIT) >> 31


def test_context_is_told_once(nics: Any) -> None:
    """Packets of one kind share a context descriptor, over batches too; only a batch's last descriptor reports."""
    raw, whole, start, offset, _ = partial("udp", 4, 0, bytes(100))
    ask = {"csum": lib.VS_CSUM_PARTIAL, "csum_start": start, "csum_offset": offset}
    nic = nics("igb")
    nic.start()
    nic.tx(raw, raw, raw, **ask)
    assert read(nic, TX + TAIL) == 4
    reports = [bool(ring(nic, TX)[2 * i + 1] & REPORT) for i in range(4)]
    assert reports == [False, False, False, True]
    nic.tx(raw, **ask)
    assert read(nic, TX + TAIL) == 5
    other, finished, start, offset, _ = partial("tcp", 4, 0, bytes(100))
    nic.tx(other, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
    assert read(nic, TX + TAIL) == 7
    assert sent(nic) == [whole] * 4 + [finished]
    assert not nic.faults


@pytest.mark.parametrize("size", [100, 101, 3000])
@pytest.mark.parametrize("tags", [3, 4])
def test_checksum_that_the_device_would_not_find(nics: Any, size: int, tags: int) -> None:
    """Behind three tags it is finished by us, in the buffer: no context descriptor."""
    raw, whole, start, offset, _ = partial("udp", 6, tags, bytes(i & 255 for i in range(size)))
    nic = nics("igb")
    nic.start(mtu=9000)
    nic.tx(raw, csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=offset)
    assert read(nic, TX + TAIL) == len(raw) // 2048 + 1
    assert sent(nic) == [whole]


@pytest.mark.parametrize("start", [14, 15, 33])
def test_checksum_at_any_place(nics: Any, start: int) -> None:
    """Not an IP packet, and a field where no protocol has it: finished by us, also over an odd border of buffers."""
    data = bytearray(frame(2300, 9))
    data[start + 9 : start + 11] = bytes(2)
    nic = nics("igb")
    nic.start(mtu=9000)
    nic.tx(bytes(data), csum=lib.VS_CSUM_PARTIAL, csum_start=start, csum_offset=9)
    rest = bytes(data[start:]) + bytes(len(data) - start & 1)
    total = sum(int.from_bytes(rest[i : i + 2], "big") for i in range(0, len(rest), 2))
    total = (total & 0xFFFF) + (total >> 16)
    data[start + 9 : start + 11] = (~((total & 0xFFFF) + (total >> 16)) & 0xFFFF).to_bytes(2, "big")
    assert sent(nic) == [bytes(data)]


def test_segments_that_do_not_fit_are_not_sent(nics: Any) -> None:
    """A packet to be segmented without headers to do it by never reaches the device whole."""
    nic = nics("igb")
    nic.start()
    nic.tx(
        frame(4000), csum=lib.VS_CSUM_PARTIAL, csum_start=34, csum_offset=16, gso_type=lib.VS_GSO_TCPV4, gso_size=500
    )  # fmt: skip
    nic.tx(frame(70))
    assert [len(data) for data in sent(nic)] == [70]


def test_what_a_device_reports_is_counted(nics: Any) -> None:
    """Errors, lengths and parts that cannot be: a name each; runts too. The ring goes on."""
    nic = nics("igb")
    nic.start()
    written_back(nic, 0, DONE | END | BAD | 60 << 32)
    written_back(nic, 1, DONE | END | 13 << 32)
    written_back(nic, 2, DONE | END | 0xFFFF << 32)
    for number in range(3, 11):
        written_back(nic, number, DONE | 2048 << 32)
    assert nic.rx() == []
    assert nic.drops() == {"device_error": 2, "runt": 1, "oversize": 1}
    written_back(nic, 11, DONE | 2048 << 32)
    assert nic.rx() == [], "the rest is not there yet"
    written_back(nic, 12, DONE | END | BAD | 100 << 32)
    assert nic.rx() == []
    assert nic.drops() == {"device_error": 3, "runt": 1, "oversize": 1}
    assert nic.counters.rx_packets == 5
    written_back(nic, 13, DONE | END | 100 << 32)
    assert len(nic.rx()) == 1


def test_damaged_frames_stay_outside(nics: Any) -> None:
    """Frames with a wrong FCS are not asked for, and counted by the device."""
    nic = nics("igb")
    nic.start()
    assert nic.receive(frame(60), ERROR) == -1
    stats = nic.stats()
    assert (stats.rx_crc, stats.rx_errors) == (1, 1)


@pytest.mark.parametrize(
    ("wish", "pause"),
    [
        (0, 0),
        (lib.VS_NIC_PAUSE_RX, lib.VS_NIC_PAUSE_RX),
        (lib.VS_NIC_PAUSE_TX, lib.VS_NIC_PAUSE_TX),
        (lib.VS_NIC_PAUSE_RX | lib.VS_NIC_PAUSE_TX | lib.VS_NIC_PAUSE_AUTO, 3),
        (lib.VS_NIC_PAUSE_RX | lib.VS_NIC_PAUSE_AUTO, lib.VS_NIC_PAUSE_RX),
        (lib.VS_NIC_PAUSE_TX | lib.VS_NIC_PAUSE_AUTO, 0),  # the partner wants symmetric ones only
    ],
)
def test_flow_control(nics: Any, wish: int, pause: int) -> None:
    """Ordered, or agreed with a partner that does symmetric pause: link, MAC and watermarks say the same."""
    nic = nics("igb")
    nic.start(flow_control=wish)
    assert nic.link().pause == pause
    assert read(nic, CTRL) >> 27 & 3 == pause
    sends = bool(wish & lib.VS_NIC_PAUSE_TX)
    assert bool(read(nic, FCRTH)) == sends
    assert bool(read(nic, FCRTL) >> 31) == sends
    assert not sends or read(nic, FCRTL) & 0xFFFF < read(nic, FCRTH) < 64 * 1024


def test_semaphore_of_a_dead_driver(nics: Any) -> None:
    """Who was killed with the PHY's semaphore does not keep it."""
    nic = nics("igb")
    write(nic, SWSM, 1)
    write(nic, SW_FW_SYNC, 2)
    nic.start()
    assert nic.link().up
    assert not read(nic, SW_FW_SYNC) & 2
    assert not nic.faults


@pytest.mark.parametrize(
    ("trouble", "text"),
    [(GONE, "does not answer"), (NO_MAC, "holds no MAC address")],
)
def test_probe_refuses(nics: Any, trouble: int, text: str) -> None:
    """One line each."""
    with pytest.raises(Refused, match=text) as refused:
        nics("igb", trouble)
    assert "\n" not in str(refused.value)


def test_queue_that_does_not_start(nics: Any) -> None:
    """An error, all buffers back, and another attempt works."""
    nic = nics("igb", STUCK)
    with pytest.raises(Refused, match="receive queue 0 does not start"):
        nic.start()
    assert lib.vs_dma_n_free_buffers(0) == lib.vs_dma_n_buffers(0)
    write(nic, TEST, 0)
    nic.start()
    nic.receive(frame(60))
    assert nic.rx() == [frame(60)]


# --- virtual functions ---


def test_vf_is_not_promiscuous(nics: Any) -> None:
    """It says so, and does the multicast half of it."""
    nic = nics("igb", VF)
    assert nic.info.features & (lib.VS_NIC_F_VF | lib.VS_NIC_F_PROMISC) == lib.VS_NIC_F_VF
    nic.start(rx_mode=0)
    multicast = bytes.fromhex("01005e000001") + frame(60)[6:]
    assert nic.receive(multicast) == -1
    assert lib.vs_nic_set_rx_mode(nic.handle, lib.VS_NIC_RX_PROMISC) == -errno.EOPNOTSUPP
    assert nic.receive(multicast) == 1
    assert lib.vs_nic_set_rx_mode(nic.handle, 0) == 0
    assert nic.receive(multicast) == -1


def test_vf_of_a_silent_pf(nics: Any) -> None:
    """No answer costs half a second and one line that names the cure."""
    with pytest.raises(Refused, match=r"physical function does not answer.*ip link set") as refused:
        nics("igb", VF | MUTE)
    assert "\n" not in str(refused.value)


def test_vf_of_a_pf_in_reset(nics: Any) -> None:
    """A physical function that does not come back is as silent."""
    with pytest.raises(Refused, match="does not answer"):
        nics("igb", VF | RESET)


def test_vf_that_is_refused(nics: Any) -> None:
    """What it cannot do without is an error, the rest is done without."""
    nic = nics("igb", VF | REFUSE)
    with pytest.raises(Refused, match="refuses an MTU of 9000"):
        nic.start(mtu=9000)
    with pytest.raises(Refused, match="refuses another MAC address"):
        nic.start(mac=bytes.fromhex("0200000000aa"))
    nic.start()
    assert nic.receive(frame(60)) == 1
    assert nic.rx() == [frame(60)]


def test_vf_whose_pf_is_reset(nics: Any) -> None:
    """Its queues are gone with that: it asks to be started anew, by its last vector, and that works."""
    nic = nics("igb", VF)
    nic.start(vectors=True)
    write(nic, TEST, RESET)
    assert select.select([nic.fds[-1]], [], [], 0)[0]
    assert lib.vs_nic_irq(nic.handle) == lib.VS_NIC_IRQ_DEAD
    assert "was reset" in nic.error
    write(nic, TEST, 0)
    nic.stop()
    nic.probe()
    nic.start()
    assert nic.receive(flow(1), CSUM_GOOD) == 1
    assert nic.rx() == [flow(1)]


def test_vf_without_an_address(nics: Any) -> None:
    """It makes one, of one station and local, and asks for it; the operator's goes first."""
    nic = nics("igb", VF | NO_MAC)
    mac = bytes(nic.info.mac)
    assert mac[0] & 3 == 2
    nic.start(rx_mode=0)
    assert nic.receive(mac + frame(60)[6:]) == 1
    nic.stop()
    nic.start(rx_mode=0)
    assert nic.receive(mac + frame(60)[6:]) == 1, "the same over a stop"
    nic.stop()
    nic.start(rx_mode=0, mac=bytes.fromhex("0200000000aa"))
    assert nic.receive(bytes.fromhex("0200000000aa") + frame(60)[6:]) == 1
    assert nic.receive(mac + frame(60)[6:]) == -1


def test_vf_counters_wrap(nics: Any) -> None:
    """They have 32 bits and do not clear."""
    nic = nics("igb", VF)
    write(nic, 0x0F10, 0xFFFFFFFF)
    nic.stop()
    nic.probe()
    nic.start()
    for _ in range(3):
        nic.receive(frame(60))
    assert nic.stats().rx_packets == 3
    assert nic.stats().rx_packets == 3


def test_identities() -> None:
    """Every device that the driver names can be probed by it, and the list has no double."""
    vendor, device, name = ffi.new("uint32_t *"), ffi.new("uint32_t *"), ffi.new("const char **")
    known = []
    while lib.vs_nic_known(len(known), vendor, device, name):
        known.append((device[0], ffi.string(name[0])))
    igb = [number for number, driver in known if driver == b"igb"]
    assert {0x10C9, 0x1521, 0x1533, 0x10CA, 0x1520} <= set(igb)
    assert len(igb) == len(set(igb))
    env = ffi.new("struct vs_nic_env *")
    info = ffi.new("struct vs_nic_info *")
    port = lib.vs_nic_new(b"nic")
    for number in igb:
        env.vendor, env.device = 0x8086, number
        assert lib.vs_nic_attach(port, b"igb", env) == 0
        assert lib.vs_nic_probe(port, info) < 0
        assert ffi.string(lib.vs_nic_error(port)).startswith(b"BAR 0")
    lib.vs_port_destroy(port)
