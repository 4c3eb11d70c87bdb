"""Bundle messages of the ONF's extension 230: their bytes, the message within, their errors."""

import struct

import pytest

from vswitchd.ofproto.bundle_messages import BundleAdd, BundleControl, Bundled, BundleProperty
from vswitchd.ofproto.codec import decode, encode
from vswitchd.ofproto.errors import OFPBFC, OFPBRC, OFPFMFC, EncodeError, OFError, error_name
from vswitchd.ofproto.messages import BarrierRequest, EchoRequest, Error, Experimenter, FlowMod, PacketOut
from vswitchd.ofproto.multipart import DescRequest

ONF = "4f4e4600"
ADD = BundleAdd(1, 3, Bundled(7, FlowMod(priority=5)))


def refused(wire, code):
    with pytest.raises(OFError) as caught:
        decode(wire)
    assert caught.value.code is code
    assert caught.value.data == wire[:64]
    return caught.value


def test_bytes_of_a_control_message():
    wire = encode(BundleControl(1, 4, 3), 5)
    assert wire.hex() == "0404001800000005" + ONF + "000008fc" + "00000001" + "0004" + "0003"
    assert decode(wire) == (5, BundleControl(1, 4, 3))


def test_bytes_of_an_add():
    inner = encode(FlowMod(priority=5), 7)
    wire = encode(ADD, 7)
    assert wire[8:24].hex() == ONF + "000008fd" + "00000001" + "0000" + "0003"
    assert wire[24:] == inner
    xid, msg = decode(wire)
    assert (xid, msg) == (7, ADD)
    assert msg.bundled.head == inner[:64]


def test_properties_stand_behind_a_padded_message():
    add = BundleAdd(1, 0, Bundled(7, PacketOut(data=b"abc")), (BundleProperty(0xFFFF, b"12345678"),))
    wire = encode(add, 7)
    assert wire[24 + 27 : 24 + 32] == bytes(5)
    assert decode(wire) == (7, add)
    refused(wire[:-16] + struct.pack("!HH", 0xFFFF, 3) + wire[-12:], OFPBRC.BAD_LEN)


def test_the_message_within_is_checked():
    wire = encode(ADD, 7)

    def within(at, new):
        return wire[: 24 + at] + new + wire[24 + at + len(new) :]

    refused(within(4, b"\0\0\0\x08"), OFPBFC.MSG_BAD_XID)
    refused(within(2, b"\0\x07"), OFPBFC.MSG_BAD_LEN)
    refused(within(2, b"\x01\0"), OFPBFC.MSG_BAD_LEN)
    refused(within(0, b"\x01"), OFPBFC.MSG_UNSUP)
    refused(within(1, b"\x63"), OFPBFC.MSG_UNSUP)
    refused(within(1, b"\x04"), OFPBFC.MSG_UNSUP)
    refused(within(25, b"\x63"), OFPFMFC.BAD_COMMAND)


def test_a_bundle_within_a_bundle_ends_at_once():
    inner = encode(ADD, 7)
    for _ in range(500):
        head = struct.pack("!BBHI", 4, 4, 24 + len(inner), 7)
        inner = head + encode(ADD, 7)[8:24] + inner
    refused(inner, OFPBFC.MSG_UNSUP)


@pytest.mark.parametrize("message", [DescRequest(), EchoRequest(), Experimenter(1), BundleControl(1, 2)])
def test_what_no_bundle_holds_is_not_encoded(message):
    with pytest.raises(EncodeError):
        encode(BundleAdd(1, 0, Bundled(1, message)), 1)


def test_unknown_messages_of_the_onf_stay_opaque():
    wire = bytes.fromhex("0404001200000005" + ONF + "000008fe" + "0102")
    assert decode(wire) == (5, Experimenter(0x4F4E4600, 0x8FE, b"\1\2"))
    assert decode(bytes.fromhex("0404001000000005" + "00002320" + "000008fc"))[1].experimenter == 0x2320


def test_errors_are_those_of_an_experimenter():
    error = OFError(OFPBFC.BAD_ID, "no bundle 3", b"data")
    wire = encode(Error.of(error), 9)
    assert wire.hex() == "0401" + "0014" + "00000009" + "ffff" + "08fe" + ONF + b"data".hex()
    assert error_name(0xFFFF, 2302) == "OFPBFC_BAD_ID"


def test_others_may_be_bundled_as_far_as_the_codec_goes():
    wire = encode(BundleAdd(1, 0, Bundled(1, BarrierRequest())), 1)
    assert decode(wire)[1].bundled.message == BarrierRequest()
