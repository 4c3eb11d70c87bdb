"""The netlink parser: messages built by hand from rtnetlink(7), cut and broken ones."""

import random
import struct

import pytest

from vswitchd.ports.kernel import rtnl


def attr(kind, value):
    return struct.pack("=HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)


def message(kind, body, sequence=7):
    return struct.pack("=IHHII", 16 + len(body), kind, 0, sequence, 99) + body


def link_body(index=5, flags=0x10001, *attributes):
    return struct.pack("=BxHiII", 0, 1, index, flags, 0) + b"".join(attributes)


FULL = message(
    16,
    link_body(
        5,
        0x10043,
        attr(3, b"eth0\0"),
        attr(4, struct.pack("=I", 9000)),
        attr(1, bytes.fromhex("020000000001")),
        attr(18 | 0x8000, attr(1, b"veth\0")),
        attr(99, b"later kernels"),
    ),
)
LINK = rtnl.Link(5, "eth0", 0x10043, 9000, "02:00:00:00:00:01", "veth")


def test_new_link():
    assert rtnl.parse(FULL) == [LINK]
    assert LINK.admin_up
    assert LINK.link_up


@pytest.mark.parametrize(
    ("flags", "admin", "link"),
    [(0, False, False), (1, True, False), (0x10000, False, False), (0x10001, True, True)],
)
def test_link_state(flags, admin, link):
    (got,) = rtnl.parse(message(16, link_body(5, flags)))
    assert (got.admin_up, got.link_up) == (admin, link)


def test_deleted_link():
    (got,) = rtnl.parse(message(17, link_body(5, 0, attr(3, b"eth0\0"))))
    assert got.gone
    assert got.name == "eth0"


def test_several_messages_in_a_datagram():
    done = message(3, struct.pack("=i", 0))
    error = message(2, struct.pack("=i", -19) + b"the request", sequence=3)
    unknown = message(24, b"a route")
    unknown += b"\0" * (-len(unknown) % 4)
    assert rtnl.parse(FULL + unknown + error + b"\0" + done) == [LINK, rtnl.Ack(3, 19), rtnl.Done(7)]


def test_namespace_identifier():
    body = bytes(4) + attr(1, struct.pack("=i", 12))
    assert rtnl.parse(message(88, body)) == [rtnl.NamespaceId(12)]
    assert rtnl.parse(message(88, bytes(4))) == [rtnl.NamespaceId(-1)]


@pytest.mark.parametrize("cut", range(len(FULL)))
def test_a_cut_message_is_not_taken(cut):
    assert rtnl.parse(FULL[:cut]) == []


def test_an_attribute_longer_than_the_message_ends_the_list():
    body = link_body(5, 1, attr(3, b"eth0\0"), struct.pack("=HH", 500, 4) + b"1234")
    (got,) = rtnl.parse(message(16, body))
    assert (got.name, got.mtu) == ("eth0", 0)


@pytest.mark.parametrize("length", [0, 3])
def test_an_attribute_shorter_than_its_header_ends_the_list(length):
    body = link_body(5, 1, struct.pack("=HH", length, 4), attr(3, b"eth0\0"))
    (got,) = rtnl.parse(message(16, body))
    assert got.name == ""


def test_a_message_length_below_the_header_ends_the_list():
    assert rtnl.parse(struct.pack("=IHHII", 15, 16, 0, 0, 0) + FULL) == []


def test_noise_never_raises():
    rng = random.Random(3)
    for _ in range(3000):
        noisy = bytearray(FULL)
        for _ in range(rng.randrange(1, 6)):
            noisy[rng.randrange(len(noisy))] = rng.randrange(256)
        rtnl.parse(bytes(noisy))
        rtnl.parse(rng.randbytes(rng.randrange(200)))


def test_set_link_is_laid_out_as_rtnetlink_says():
    data = rtnl.set_link(9, 5, mtu=1400, mac="02:00:00:00:00:01", up=True)
    length, kind, flags, sequence, _ = struct.unpack_from("=IHHII", data)
    assert (length, kind, flags, sequence) == (len(data), 16, 5, 9)
    assert struct.unpack_from("=BxHiII", data, 16) == (0, 0, 5, 1, 1)
    assert data[32:] == attr(4, struct.pack("=I", 1400)) + attr(1, bytes.fromhex("020000000001"))


def test_set_link_without_a_state_leaves_the_state_alone():
    data = rtnl.set_link(9, 5, mtu=1400, netns=3)
    assert struct.unpack_from("=BxHiII", data, 16) == (0, 0, 5, 0, 0)
    assert data[32:] == attr(46, struct.pack("=i", 3)) + attr(4, struct.pack("=I", 1400))
