"""The datapath's flow key of a packet as the match that names all that the packet is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.datapath.action import FIELDS as KEY_FIELDS
from vswitchd.ofproto.compile import KEY_FIELD
from vswitchd.ofproto.constants import OFPVID_PRESENT
from vswitchd.ofproto.fields import BY_NAME, FIELDS, Field
from vswitchd.ofproto.oxm import FieldMatch, Match

if TYPE_CHECKING:
    from collections.abc import Mapping

_IF_SET = frozenset({"metadata", "tunnel_id", "vlan_vid", "ipv6_exthdr", "tcp_flags", "pbb_isid", "in_port"})
"""Fields that are left out where they are zero: that is how packets are that do not have them."""


def match_of_key(key: bytes, more: Mapping[str, int] | None = None) -> Match:
    """Return the match of a packet's struct vs_key; `more`: values that the key does not hold, by field name."""
    found: dict[Field, int] = {}
    for row in FIELDS:
        name = KEY_FIELD.get(row)
        if name in (None, "BRIDGE") or not _applies(row, found):
            continue
        info = KEY_FIELDS[name]
        number = int.from_bytes(key[info.offset : info.offset + info.size], "big") >> info.shift
        value = (more or {}).get(row.name, number & ((1 << min(info.bits, row.bits)) - 1))
        if value or row.name not in _IF_SET:
            found[row] = value
    return Match(tuple(FieldMatch(row, value) for row, value in found.items()))


def _applies(row: Field, found: Mapping[Field, int]) -> bool:
    """Whether a packet with these fields has this one, too."""
    for name, allowed in row.prereqs:
        value = found.get(BY_NAME[name])
        if value is None or (allowed and value not in allowed):
            return False
        if name == "vlan_vid" and not value & OFPVID_PRESENT:
            return False
    return True
