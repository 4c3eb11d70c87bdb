"""Any options of a vhost-user port and any file that remembers its peer: taken or refused in one line, no traceback."""

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vhostuser import memo, options
from vswitchd.ports.vhostuser.features import DEFAULT, MAX_PAIRS, SUPPORTED, Offer, Protocol, Virtio

NAMES = [
    *("vhost-server-path", "vhost-socket", "socket-mode", "socket-owner", "socket-group", "reconnect-max"),
    *("tx-retries-max", "vhost-max-queue-pairs", "features-off", "protocol-features-off", *options.SWITCHES),
]
GOOD = ["", "0", "1", "64", "0.5", "0660", "true", "false", "root", "/x", "@x", "mq", "mq,ctrl_vq", "status"]
VALUES = st.sampled_from(GOOD) | st.text(max_size=20)
WORDS = st.integers(0, (1 << 64) - 1)
BITS = st.lists(st.sampled_from([*Virtio, *Protocol]), max_size=4)


@given(st.sampled_from([options.SERVER, options.CLIENT]), st.dictionaries(st.sampled_from(NAMES), VALUES))
def test_options_are_taken_or_refused_in_one_line(kind, words):
    try:
        asked = options.read(PortConfig("vh0", kind, words), Path("/run/vs"))
    except PortError as error:
        text = str(error)
        assert text.startswith("port vh0: ")
        assert text.isprintable()
        return
    assert asked.address
    assert 0 <= asked.retries <= options.MAX_RETRIES
    assert 0.1 <= asked.longest_wait <= 3600
    assert 1 <= asked.offer.pairs <= MAX_PAIRS
    assert asked.offer.virtio & ~SUPPORTED.virtio == asked.offer.protocol & ~SUPPORTED.protocol == 0
    assert asked.offer.without(()) == asked.offer, "no feature is offered without what it needs"


@given(BITS)
def test_switching_off_only_ever_takes_away(bits):
    left = DEFAULT.without(bits)
    assert left & DEFAULT == left
    assert not any(left.has(bit) for bit in bits)
    assert left.without(bits) == left


@given(
    st.builds(Offer, WORDS, WORDS, st.integers(1, MAX_PAIRS)),
    st.integers(1, 1 << 22),
    st.integers(1, 1 << 60),
)
def test_a_memo_survives_its_file(offer, pid, start):
    kept = memo.Memo(memo.Peer(pid, start), offer, offer)
    assert memo.decode(memo.encode(kept)) == kept


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["format", "peer", "pid", "start", "offered", "negotiated"]), inner)
    ),
    max_leaves=8,
)


@given(st.text() | JSON.map(json.dumps))
def test_any_other_file_is_no_memo(text):
    try:
        memo.decode(text)
    except ValueError:
        return
    raise AssertionError("this was taken for a memo")
