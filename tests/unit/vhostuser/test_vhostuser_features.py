"""Feature words: names, what needs what, and that the offer keeps its own rules."""

import pytest

from vswitchd.ports.vhostuser.features import (
    DEFAULT,
    OPT_IN,
    SUPPORTED,
    Offer,
    Protocol,
    Virtio,
    mask,
    names,
    protocol_names,
)

EVERYTHING = Offer(mask(*Virtio), mask(*Protocol))


def lost(*bits):
    """Names of what goes when these bits are switched off, both words."""
    left = EVERYTHING.without(bits)
    return set(names(EVERYTHING.virtio & ~left.virtio).split()), set(
        protocol_names(EVERYTHING.protocol & ~left.protocol).split()
    )


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        ([Virtio.MRG_RXBUF], {"mrg_rxbuf"}),
        ([Virtio.CSUM], {"csum", "host_tso4", "host_tso6", "host_ecn", "host_ufo", "host_uso"}),
        (
            [Virtio.GUEST_CSUM],
            {"guest_csum", "guest_tso4", "guest_tso6", "guest_ecn", "guest_ufo", "guest_uso4", "guest_uso6"},
        ),
        ([Virtio.HOST_TSO4], {"host_tso4"}),
        ([Virtio.HOST_TSO4, Virtio.HOST_TSO6], {"host_tso4", "host_tso6", "host_ecn"}),
        ([Virtio.CTRL_VQ], {"ctrl_vq", "ctrl_rx", "ctrl_vlan", "ctrl_mac_addr", "guest_announce", "mq"}),
        ([Virtio.VERSION_1], {"version_1", "ring_packed", "in_order"}),
    ],
)
def test_what_needs_a_device_feature_goes_with_it(off, gone):
    assert lost(*off) == (gone, set())


@pytest.mark.parametrize(
    ("off", "gone"),
    [
        (
            Protocol.BACKEND_REQ,
            (
                {"access_platform"},
                {
                    "backend_req",
                    "backend_send_fd",
                    "host_notifier",
                    "shared_object",
                    "inband_notifications",
                },
            ),
        ),
        (Protocol.REPLY_ACK, (set(), {"reply_ack", "inband_notifications"})),
        (Protocol.LOG_SHMFD, ({"log_all"}, {"log_shmfd"})),
        (Protocol.INFLIGHT_SHMFD, (set(), {"inflight_shmfd", "get_vring_base_inflight"})),
    ],
)
def test_what_needs_a_protocol_feature_goes_with_it(off, gone):
    assert lost(off) == gone


def test_no_protocol_features_without_their_announcement():
    left = EVERYTHING.without([Virtio.PROTOCOL_FEATURES])
    assert left.protocol == 0
    assert not left.has(Virtio.ACCESS_PLATFORM)
    assert left.has(Virtio.RING_PACKED)


@pytest.mark.parametrize("offer", [DEFAULT, SUPPORTED])
def test_the_offer_keeps_its_own_rules(offer):
    """What the specification forbids to offer alone would be masked by a front-end, or worse, not."""
    assert offer.without(()) == offer


def test_default_is_a_part_of_what_is_supported():
    assert DEFAULT & SUPPORTED == DEFAULT
    assert not DEFAULT.virtio & OPT_IN.virtio
    assert not DEFAULT.protocol & OPT_IN.protocol
    assert DEFAULT | OPT_IN == SUPPORTED


def test_names_are_in_bit_order_with_unknown_bits_as_a_number():
    assert names(mask(Virtio.IN_ORDER, Virtio.CSUM)) == "csum in_order"
    assert names(1 << 57 | 1) == f"csum {1 << 57:#x}"
    assert protocol_names(mask(Protocol.STATUS, Protocol.MQ)) == "mq status"
    assert names(0) == protocol_names(0) == ""


def test_plus_and_without_change_their_own_word_alone():
    offer = Offer(0, 0).plus([Virtio.MQ, Protocol.STATUS])
    assert offer == Offer(1 << 22, 1 << 16)
    assert Offer(mask(*Virtio), mask(*Protocol)).without([Protocol.NET_MTU]).virtio == mask(*Virtio)


@pytest.mark.parametrize(
    ("bit", "number"),
    [
        # VIRTIO 1.2, 5.1.3 and 6; a copy by hand of the numbers that a typing error would ruin silently
        (Virtio.GUEST_TSO4, 7),
        (Virtio.HOST_TSO6, 12),
        (Virtio.GUEST_ANNOUNCE, 21),
        (Virtio.ACCESS_PLATFORM, 33),
        (Virtio.RING_PACKED, 34),
        (Virtio.GUEST_USO4, 54),
        (Virtio.GUEST_USO6, 55),
        (Virtio.HOST_USO, 56),
        (Protocol.INFLIGHT_SHMFD, 12),
        (Protocol.DEVICE_STATE, 19),
    ],
)
def test_numbers(bit, number):
    assert bit == number
