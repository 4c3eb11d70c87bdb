"""The whole switch in a guest, its ports emulated NICs behind VT-d: one boot, every model, everything that can happen to them."""

import base64
import struct
from collections.abc import Iterator

import pytest
from peers.guestswitch import BRIDGE
from peers.hosttap import HostTap
from peers.nicpeer import Flow, run_flows
from peers.pcap import checksum, udp
from peers.segments import HEADERS, NEEDS_CSUM, TCPV4, check_train, large
from peers.switch import Metrics, total
from peers.wait import until
from vfio_world import KERNEL_DRIVEN, NO_NIC, ON_TAP, PAIRS, QUEUES, SLOTS, TAP, Rig, rig_of

pytestmark = [pytest.mark.interop, pytest.mark.root, pytest.mark.timeout(900)]

FRAMES = 2000
FEW = 200
SHORTEST, LONGEST = 46, 1441
MODELS = list(PAIRS)
VF_PORT, BAD_PORT = 50, 60
VF_MAC = "02:00:00:00:20:01"


def frames(count: int, *, way: int = 0, first: int = 0) -> list[bytes]:
    """UDP frames of every length in turn."""
    span = LONGEST - SHORTEST + 1
    return [
        udp(first + at, SHORTEST + (first + at) % span, port=2000 + at % 61, way=way) for at in range(count)
    ]


def turned(frame: bytes) -> bytes:
    """The frame with its addresses changed round, as the reflector sends it back."""
    return frame[6:12] + frame[:6] + frame[12:]


@pytest.fixture(scope="module")
def booted() -> Iterator[Rig]:
    """The guest with all its NICs and ports."""
    with rig_of() as made:
        yield made


@pytest.fixture
def rig(booted: Rig) -> Rig:
    """The same with the daemon alive and pairs of ports connected."""
    booted.revive()
    booted.connect()
    return booted


def both_ways(rig: Rig, one: str, other: str, count: int = FRAMES) -> None:
    """Frames from each to the other at the same time."""
    a, b = rig.cables[one], rig.cables[other]
    run_flows(Flow(a, b, frames(count)), Flow(b, a, frames(count, way=1)))


@pytest.mark.parametrize("model", MODELS)
def test_forwards(rig: Rig, model: str) -> None:
    """Between two ports of a model, every byte compared."""
    one, other = PAIRS[model]
    for name in (one, other):
        rig.wait_link(name)
    both_ways(rig, one, other)


def test_forwards_82540em(rig: Rig) -> None:
    """Two of the oldest, which share an IOMMU group behind a bridge."""
    for name in ("o0", "o1"):
        rig.wait_link(name)
    rig.cross("o0", "o1")
    both_ways(rig, "o0", "o1", FEW)


@pytest.mark.parametrize("model", MODELS)
def test_forwards_to_tap(rig: Rig, model: str) -> None:
    """From a NIC to a tap of the guest's kernel, where a program sends everything back."""
    cable = rig.cables[PAIRS[model][0]]
    rig.cross(cable.nic.name, TAP)
    sent = frames(FRAMES)
    with rig.reflector():
        run_flows(Flow(cable, cable, sent, [turned(frame) for frame in sent]))


def test_forwards_between_models(rig: Rig) -> None:
    """A buffer of one driver goes out by another's ring."""
    firsts = [pair[0] for pair in PAIRS.values()]
    for one, other in zip(firsts, firsts[1:] + firsts[:1], strict=True):
        rig.cross(one, other)
        both_ways(rig, one, other, FEW)


def conversation(number: int) -> bytes:
    """A frame from an address of its own."""
    frame = bytearray(udp(number, 200))
    frame[28:30] = struct.pack("!H", number + 1)
    frame[24:26] = frame[40:42] = b"\0\0"  # a UDP checksum of 0: none
    frame[24:26] = struct.pack("!H", checksum(bytes(frame[14:34])))
    return bytes(frame)


def test_rss_spreads_over_queues(rig: Rig) -> None:
    """Many conversations come by all four queues, one conversation by one; nothing is lost."""

    def queues() -> list[float]:
        metrics = rig.switch.metrics()
        return [
            total(metrics, "vs_rxq_packets_total", port=name, queue=str(queue))
            for queue in range(QUEUES[name])
        ]

    name, other = PAIRS["igb"]
    start = queues()
    run_flows(Flow(rig.cables[name], rig.cables[other], [conversation(at) for at in range(4 * FEW)]))
    middle = queues()
    run_flows(Flow(rig.cables[name], rig.cables[other], [conversation(0)] * FEW))
    many = [b - a for a, b in zip(start, middle, strict=True)]
    one = [b - a for a, b in zip(middle, queues(), strict=True)]
    assert sum(many) == 4 * FEW
    assert min(many) > FEW / 4, many
    assert sorted(one) == [0, 0, 0, FEW]


LENGTH, MSS = 1400, 400


def inject(rig: Rig) -> None:
    """A long segment, as a kernel's driver hands it to the tap."""
    before = rig.switch.statistics(TAP)["rx_packets"]
    text = base64.b64encode(large(LENGTH, MSS)).decode()
    rig.switch.guest.run(f"echo {text} | base64 -d | wire inject {TAP}")
    # One packet: the tap's kernel did not cut it, so whoever did is behind our switch.
    until(lambda: rig.switch.statistics(TAP)["rx_packets"] == before + 1, "the switch has read one packet")


def test_tso_igb(rig: Rig) -> None:
    """The device cuts a long segment and fills in the checksums."""
    cable = rig.cables["g0"]
    rig.cross("g0", TAP)
    cable.drain()
    inject(rig)
    train: list[bytes] = []

    def all_there() -> bool:
        while (frame := cable.receive()) is not None:
            train.append(frame)
        return sum(len(frame) - HEADERS for frame in train) >= LENGTH

    until(all_there, "the train has arrived")
    check_train(train, LENGTH, MSS)
    assert rig.switch.statistics("g0").get("tx_tso_packets", 1) >= 1


def test_tso_virtio(rig: Rig) -> None:
    """A back end with virtio-net headers gets the long segment itself, and is told how to cut it."""
    rig.wait_link(ON_TAP)
    rig.cross(ON_TAP, TAP)
    tap = HostTap(rig.tap)
    try:
        inject(rig)
        header, frame = tap.receive()
    finally:
        tap.close()
    flags, kind, _, *rest = (
        header  # the third, the headers' length, is a hint that the host's kernel writes anew
    )
    assert (flags, kind, rest, frame) == (NEEDS_CSUM, TCPV4, [MSS, 34, 16], large(LENGTH, MSS)[10:])


@pytest.mark.parametrize("model", MODELS)
def test_link_goes_and_comes(rig: Rig, model: str) -> None:
    """The cable is pulled and put back: seen by vsctl and by OpenFlow, and frames flow again."""
    one, other = PAIRS[model]
    changes = int(rig.column(other, "link_resets") or 0)
    for up, state in ((False, "down"), (True, "up")):
        rig.switch.guest.qmp("set_link", name=f"n-{other}", up=up)
        rig.wait_link(other, state)
        described = rig.switch.ofctl("dump-ports-desc", BRIDGE)
        mine = described.split(f"({other})")[1].split("speed")[0]
        assert ("LINK_DOWN" in mine) == (not up)
    assert int(rig.column(other, "link_resets")) > changes
    both_ways(rig, one, other, FEW)


@pytest.mark.parametrize("model", MODELS)
def test_port_goes_and_comes_under_traffic(rig: Rig, model: str) -> None:
    """Removed and added again while frames come in on both sides."""
    one, other = PAIRS[model]
    with rig.storm(one, other):
        for name in (other, one):
            rig.remove(name)
            rig.add(name)
            rig.wait_link(name)
    both_ways(rig, one, other, FEW)


def test_idle_cores_sleep_and_interrupts_wake_them(rig: Rig) -> None:
    """Without traffic a core sleeps nearly all the time; a frame that comes then raises an interrupt."""

    def sleeps() -> float:
        return total(rig.switch.metrics(), "vs_core_sleeps_total")

    def slept(count: int) -> Metrics:
        start = sleeps()
        until(lambda: sleeps() >= start + count, f"a core has slept {count} times")
        return rig.switch.metrics()

    before = slept(1)
    after = slept(6)
    spent = {
        state: total(after, "vs_core_cycles_total", state=state)
        - total(before, "vs_core_cycles_total", state=state)
        for state in ("busy", "idle", "sleep")
    }
    assert spent["sleep"] > 0.8 * sum(spent.values()), spent
    for one, other in PAIRS.values():
        start = rig.interrupts(one)
        for at in range(3):
            slept(1)
            run_flows(Flow(rig.cables[one], rig.cables[other], frames(1, first=at)))
        assert rig.interrupts(one) > start, one  # one that finds the core awake raises none


def test_killed_under_traffic(rig: Rig) -> None:
    """kill -9 leaves devices that write to memory; a new daemon gets them, this time without huge pages."""
    everyone = [name for pair in PAIRS.values() for name in pair]
    with rig.storm(*everyone):
        rig.switch.crash()
        rig.switch.guest.run("echo 0 > /proc/sys/vm/nr_hugepages")
        rig.switch.start()
        for name in everyone:
            rig.wait_link(name)
    rig.connect()
    for one, other in PAIRS.values():
        both_ways(rig, one, other, FEW)


def test_virtual_function(rig: Rig) -> None:
    """The guest's kernel drives an igb, and one of its VFs is our port: what is for the VF's address comes by it."""
    rig.add_vf("vf0", VF_PORT, VF_MAC)
    try:
        rig.wait_link("vf0")
        rig.connect(
            f"in_port={VF_PORT} actions=output:{SLOTS['e0'].ofport}",
            f"in_port={SLOTS['e0'].ofport} actions=output:{VF_PORT}",
        )
        address = bytes.fromhex(VF_MAC.replace(":", ""))
        cable, far = rig.cables[KERNEL_DRIVEN], rig.cables["e0"]
        to_it = [address + frame[6:] for frame in frames(FEW)]
        from_it = [frame[:6] + address + frame[12:] for frame in frames(FEW, way=1)]
        run_flows(Flow(cable, far, to_it), Flow(far, cable, from_it))
    finally:
        rig.remove("vf0")


BAD_OPTIONS = {
    "malformed address": ({"pci": "eth0"}, ["0000:01:00.0"]),
    "no device there": ({"pci": "0000:00:1e.0"}, ["0000:00:1e.0", "vs-bind status"]),
    "not bound": ({"pci": "0000:00:1f.2"}, ["0000:00:1f.2", "vs-bind bind"]),
    "no NIC": ({"pci": NO_NIC}, [NO_NIC, "1af4:1044"]),
    "another port's": ({"pci": SLOTS["e0"].address}, ["another port"]),
    "no address": ({}, ["options:pci"]),
}


@pytest.mark.parametrize("case", BAD_OPTIONS)
def test_bad_port_shows_one_line(rig: Rig, case: str) -> None:
    """In column `error`, saying what to do; ports that are there go on."""
    options, words = BAD_OPTIONS[case]
    rig.add_port("bad", BAD_PORT, **options)
    try:
        rig.wait_error("bad", *words)
        both_ways(rig, "e0", "e1", 20)
    finally:
        rig.remove("bad")


def test_busy_and_unviable_groups(rig: Rig) -> None:
    """Another process has the group; then half of the group is driven by the kernel; then all is well again."""
    guest = rig.switch.guest
    for name in ("o0", "o1"):
        rig.remove(name)
    group = guest.run(f"basename $(readlink /sys/bus/pci/devices/{SLOTS['o0'].address}/iommu_group)")[
        1
    ].strip()
    holder = guest.run(f"until exec 9<>/dev/vfio/{group}; do sleep 0.1; done; sleep 600 >&- 2>&- & echo $!")[
        1
    ]
    rig.add("o0")
    rig.wait_error("o0", SLOTS["o0"].address, "in use by sleep", holder.strip())
    rig.remove("o0")
    guest.run(f"kill {holder}")
    rig.bind("o1", driver="e1000")
    rig.add("o0")
    rig.wait_error("o0", f"group {group}", SLOTS["o1"].address, "e1000")
    rig.remove("o0")
    rig.bind("o1")
    rig.add("o0", "o1")
    rig.cross("o0", "o1")
    for name in ("o0", "o1"):
        rig.wait_link(name)
    both_ways(rig, "o0", "o1", FEW)


def test_hot_removal(rig: Rig) -> None:
    """A NIC that is in use is pulled: its port says so, the others go on; put back and bound, it is in use again."""
    guest, device = rig.switch.guest, f"/sys/bus/pci/devices/{SLOTS['h0'].address}"
    rig.wait_link("h0")
    with rig.storm("h0"):
        guest.qmp("device_del", id="h0")
        rig.wait_error("h0", SLOTS["h0"].address)
        until(
            lambda: guest.run(f"test ! -e {device}", check=False)[0] == 0, "the guest's kernel has let it go"
        )
    both_ways(rig, "e0", "e1", FEW)
    guest.qmp("device_add", driver="e1000e", id="h0", netdev="n-h0", bus="rp0", romfile="")
    until(lambda: guest.run(f"test -e {device}", check=False)[0] == 0, "the guest's kernel has found it")
    rig.bind("h0")
    rig.wait_link("h0")
    rig.cross("h0", "e0")
    both_ways(rig, "h0", "e0", FEW)


def test_no_device_left_its_memory(rig: Rig) -> None:
    """In all that the IOMMU refused nothing but what QEMU's vmxnet3 reads at address 0 when it is stopped."""
    quirks = [SLOTS[name].address.removeprefix("0000:") for name in PAIRS["vmxnet3"]]
    lines = rig.faults()
    assert [line for line in lines if not (any(f"[{at}]" in line for at in quirks) and " 0x0 " in line)] == []


def test_packets_are_all_accounted_for(rig: Rig) -> None:
    """What was offered to a port was sent or dropped by name, and what came in went on or was dropped by name."""
    metrics = rig.switch.metrics()
    for name in (name for pair in PAIRS.values() for name in pair):
        drops = {
            way: total(metrics, "vs_port_drops_total", port=name, direction=way)
            for way in ("receive", "transmit")
        }
        count = {
            what: total(metrics, f"vs_port_{what}_total", port=name)
            for what in ("receive_packets", "forwarded_packets", "offered_packets", "transmit_packets")
        }
        assert count["receive_packets"] == count["forwarded_packets"] + drops["receive"], name
        assert count["offered_packets"] == count["transmit_packets"] + drops["transmit"], name
