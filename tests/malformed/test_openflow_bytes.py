"""Any bytes at all are an OpenFlow message or an OFError, in bounded time; lengths of zero never loop."""

import random
import struct
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit" / "ofproto"))

from of_strategies import ALL_ROWS, ROWS, header, of_row, row_id, whole

from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.constants import OFP_VERSION_10, OFP_VERSION_13, OFPT
from vswitchd.ofproto.errors import CODES, OFPBAC, EncodeError, OFError
from vswitchd.ofproto.registry import Message

SLOW_OK = [HealthCheck.too_slow, HealthCheck.data_too_large]
CORPUS = Path(__file__).resolve().parents[1] / "fuzz" / "corpus" / "openflow"


def harmless(data, version=OFP_VERSION_13):
    """Decode; the answer must be a message that encodes again, or an error of the tables."""
    try:
        xid, msg = decode(data, version)
    except OFError as error:
        assert type(error.code) is CODES[error.type]  # noqa: PT017
        assert error.data == data[:64]  # noqa: PT017
        return None
    assert isinstance(msg, Message)
    again = decode(encode(msg, xid, version), version)
    assert again == (xid, msg) or "\ufffd" in repr(msg)  # where bytes of a name were no text
    return msg


def with_length(data):
    """Make the header's length true."""
    return data[:2] + struct.pack("!H", len(data)) + data[4:]


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=200))
def test_random_bytes(data):
    harmless(data)
    harmless(data, OFP_VERSION_10)
    try:
        frame(data)
    except OFError as error:
        assert struct.unpack_from("!H", data, 2)[0] < 8
        assert error.data == data[:64]  # noqa: PT017


@settings(max_examples=600, deadline=None)
@given(st.sampled_from(ALL_ROWS), st.binary(max_size=160))
def test_random_bodies(row, body):
    harmless(header(row.type, whole(row, body), row.version), row.version)


@pytest.mark.parametrize("row", ALL_ROWS, ids=row_id)
@settings(max_examples=10, deadline=None, suppress_health_check=SLOW_OK)
@given(data=st.data())
def test_mutated_messages(row, data):
    wire = bytearray(encode(data.draw(of_row(row)), 1, row.version))
    rng = random.Random(data.draw(st.integers(0, 1 << 32)))
    for _ in range(20):
        bad = bytearray(wire)
        for _ in range(rng.choice((1, 1, 2, 4))):
            kind = rng.randrange(4)
            at = rng.randrange(len(bad))
            if kind == 0:
                bad[at] = rng.randrange(256)
            elif kind == 1:
                bad[at : at + 2] = struct.pack("!H", rng.choice((0, 1, 4, 8, 0xFFFF, rng.randrange(65536))))
            elif kind == 2:
                del bad[max(8, at) :]
            else:
                bad += bad[at : at + 64]
        harmless(with_length(bytes(bad[:65535])), row.version)


@pytest.mark.parametrize("row", ALL_ROWS, ids=row_id)
def test_a_body_of_zeros_ends(row):
    """An element whose length is zero is where a parser would loop."""
    for size in (*range(200), 65535 - 16):
        body = whole(row, bytes(size))
        harmless(header(row.type, body[:65527], row.version), row.version)


def test_every_length_within_a_message_is_checked():
    """Put every value near an edge into every 16 bits of a long message of each kind."""
    for row in ROWS:
        wire = encode(SAMPLES[row.cls.__name__], 1) if row.cls.__name__ in SAMPLES else None
        if wire is None:
            continue
        for at in range(8, len(wire) - 1):
            for value in (0, 1, 3, 4, 7, 8, 9, len(wire), 0x7FFF, 0x8000, 0xFFFF):
                harmless(wire[:at] + struct.pack("!H", value) + wire[at + 2 :])


def sample(row):
    """A message with every kind of element in it."""
    found = []

    @settings(
        max_examples=80,
        deadline=None,
        database=None,
        derandomize=True,
        suppress_health_check=SLOW_OK,
    )
    @given(of_row(row))
    def collect(msg):
        found.append(msg)

    collect()
    return max(found, key=lambda msg: len(encode(msg, 1)) if len(encode(msg, 1)) < 500 else 0)


NESTED = (
    *(
        "FlowMod",
        "PacketOut",
        "GroupMod",
        "MeterMod",
        "FlowStatsReply",
        "GroupDescReply",
        "TableFeaturesReply",
    ),
    *("QueueGetConfigReply", "MeterStatsReply", "GroupStatsReply", "PacketIn", "Hello"),
)
SAMPLES = {row.cls.__name__: sample(row) for row in ROWS if row.cls.__name__ in NESTED}


def test_the_samples_are_long_enough_to_mean_something():
    assert len(SAMPLES) == len(NESTED)
    assert all(len(encode(msg, 1)) >= 24 for msg in SAMPLES.values())


def test_many_actions_take_linear_time():
    """65 kB of the smallest elements, and of the smallest with a bad last one, stay one pass."""
    action = struct.pack("!HH4x", 24, 8)
    count = (65535 - 24) // 8
    body = struct.pack("!IIH6x", 0xFFFFFFFF, 1, count * 8) + action * count
    msg = harmless(header(OFPT.PACKET_OUT, body))
    assert len(msg.actions) == count
    with pytest.raises(OFError) as caught:
        decode(header(OFPT.PACKET_OUT, body[:-8] + bytes([0, 24, 0, 0, 0, 0, 0, 0])))
    assert caught.value.code is OFPBAC.BAD_LEN


def test_the_corpus_is_harmless():
    files = sorted(CORPUS.iterdir())
    assert files
    taken = 0
    for path in files:
        data = path.read_bytes()
        taken += harmless(data) is not None
        for cut in range(0, len(data), 3):
            harmless(with_length(data[:cut]) if cut >= 8 else data[:cut])
    assert taken >= len(files) // 2


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 0xFFFF), st.integers(0, 255), st.integers(-1, 1 << 40))
def test_numbers_out_of_range_are_not_encoded_wrong(kind, reason, table):
    from vswitchd.ofproto.messages import PacketIn

    try:
        wire = encode(PacketIn(total_len=kind, reason=reason, table_id=table), 1)
    except EncodeError:
        assert not 0 <= table <= 255
    else:
        assert decode(wire)[1].table_id == table
