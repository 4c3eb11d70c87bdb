"""Values in flow text: numbers, MAC and IP addresses, prefixes and masks, ports, TCP flags; both ways."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING

from vswitchd.ofproto.constants import OFPP
from vswitchd.ofproto.fields import Form

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vswitchd.ofproto.fields import Field

PORT_WORDS = {
    name: int(OFPP[name.upper()])
    for name in ("in_port", "table", "normal", "flood", "all", "controller", "local", "any")
} | {"none": int(OFPP.ANY)}
_PORT_NAMES = {int(OFPP[name.upper()]): name.upper() for name in PORT_WORDS if name != "none"}
_OLD_RESERVED = 0xFF00  # OpenFlow 1.0's reserved ports, which Open vSwitch still takes: 65534 is LOCAL
TCP_FLAGS = ("fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns", "[200]", "[400]", "[800]")
_MAC = re.compile(r"[0-9A-Fa-f]{1,2}(:[0-9A-Fa-f]{1,2}){5}")
_FLAG = re.compile(r"([+-])([a-z]+|\[[248]00\])")
_NUMBER = re.compile(r"0[xX][0-9A-Fa-f]+|[0-9]+")
_PLAIN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]*")  # what ovs-ofctl does not quote


class FlowTextError(ValueError):
    """Flow text that cannot be understood; one line that names the bad word."""

    def __init__(self, text: str) -> None:
        super().__init__(
            text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
        )


def number(word: str, what: str, bits: int) -> int:
    """Read a decimal or 0x number of at most `bits` bits."""
    if not _NUMBER.fullmatch(word):
        raise FlowTextError(f'{what}: "{word}" is not a number')
    value = int(word, 16 if word[:2] in ("0x", "0X") else 10)
    if value >> bits:
        raise FlowTextError(f"{what}: {word} is above {(1 << bits) - 1:#x}")
    return value


def port(word: str, what: str, ports: Mapping[str, int]) -> int:
    """Read a port: a number, LOCAL and its like in any case, or a name of `ports` (quoted or not)."""
    quoted = len(word) > 1 and word[0] == word[-1] == '"'
    name = word[1:-1] if quoted else word
    if name in ports:
        return ports[name]
    if not quoted and word.lower() in PORT_WORDS:
        return PORT_WORDS[word.lower()]
    if not quoted and _NUMBER.fullmatch(word):
        value = number(word, what, 32)
        return value | 0xFFFF0000 if _OLD_RESERVED <= value <= 0xFFFF else value
    raise FlowTextError(f'{what}: no port "{name}"')


def port_text(value: int, names: Mapping[int, str] | None = None) -> str:
    """Write a port: its name in `names` (quoted where it must be), LOCAL and its like, or a number."""
    if names and value in names:
        name = names[value]
        plain = _PLAIN_NAME.fullmatch(name) and name.lower() not in PORT_WORDS
        return name if plain else '"' + name.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return _PORT_NAMES.get(value, str(value))


def _mac(word: str, what: str) -> int:
    if not _MAC.fullmatch(word):
        raise FlowTextError(f'{what}: "{word}" is not a MAC address')
    return int("".join(part.zfill(2) for part in word.split(":")), 16)


def mac_text(value: int) -> str:
    """Write a MAC address."""
    return ":".join(f"{byte:02x}" for byte in value.to_bytes(6, "big"))


def _address(word: str, what: str, version: int) -> int:
    try:
        return int(ipaddress.IPv4Address(word) if version == 4 else ipaddress.IPv6Address(word))
    except ValueError:
        raise FlowTextError(f'{what}: "{word}" is not an IPv{version} address') from None


def address_text(value: int, version: int) -> str:
    """Write an IP address."""
    if version == 4:
        return str(ipaddress.IPv4Address(value))
    text = str(ipaddress.IPv6Address(value))
    if value >> 32 == 0xFFFF or (value >> 32 == 0 and value > 0xFFFF):
        head = "::ffff:" if value >> 32 else "::"  # as the C library's inet_ntop writes them
        return head + str(ipaddress.IPv4Address(value & 0xFFFFFFFF))
    return text


def _address_mask(word: str, what: str, bits: int) -> int:
    if word.isdigit():
        if int(word) > bits:
            raise FlowTextError(f"{what}: a prefix of {word} bits")
        return ((1 << bits) - 1) ^ ((1 << (bits - int(word))) - 1)
    return _address(word, what, 4 if bits == 32 else 6)


def _address_mask_text(mask: int, bits: int) -> str:
    zeros = ((1 << bits) - 1) ^ mask
    if zeros & (zeros + 1) == 0:
        return str(bits - zeros.bit_length())
    return address_text(mask, 4 if bits == 32 else 6)


def tcp_flags(word: str) -> tuple[int, int]:
    """Read TCP flags: `+syn-ack`, `syn|ack`, or a number with or without a mask."""
    found = _FLAG.findall(word)
    if found and "".join(sign + name for sign, name in found) == word:
        value = mask = 0
        for sign, name in found:
            bit = _flag(name)
            mask |= bit
            value |= bit if sign == "+" else 0
        return value, mask
    if word and not word[0].isdigit():
        return sum(_flag(name) for name in set(word.split("|"))), 0xFFF
    head, _slash, tail = word.partition("/")
    mask = number(tail, "tcp_flags", 12) if tail else 0xFFF
    return number(head, "tcp_flags", 12) & mask, mask


def _flag(name: str) -> int:
    if name not in TCP_FLAGS:
        raise FlowTextError(f'tcp_flags: no flag "{name}"')
    return 1 << TCP_FLAGS.index(name)


def _tcp_flags_text(value: int, mask: int) -> str:
    names = [(1 << i, name) for i, name in enumerate(TCP_FLAGS)]
    if mask == 0xFFF:
        return "|".join(name for bit, name in names if value & bit) or "0"
    return "".join(("+" if value & bit else "-") + name for bit, name in names if mask & bit)


def parse_value(row: Field, word: str, what: str, ports: Mapping[str, int]) -> tuple[int, int | None]:
    """Read `value` or `value/mask` of a field; bits outside of the mask are cleared, as Open vSwitch does."""
    if row.form is Form.TCP_FLAGS:
        return tcp_flags(word)
    if row.form is Form.PORT:
        return port(word, what, ports), None
    head, slash, tail = word.partition("/")
    mask: int | None = None
    if row.form is Form.MAC:
        value = _mac(head, what)
        mask = _mac(tail, what) if slash else None
    elif row.form in (Form.IPV4, Form.IPV6):
        value = _address(head, what, 4 if row.form is Form.IPV4 else 6)
        mask = _address_mask(tail, what, row.bits) if slash else None
    else:
        value = number(head, what, row.bits)
        if tail == "-1":
            mask = row.all_ones
        elif slash:
            mask = number(tail, what, row.size * 8) & row.all_ones
    if mask is not None and not row.maskable and mask != row.all_ones:
        raise FlowTextError(f"{what}: no mask is possible")
    return (value, None) if mask is None else (value & mask, mask)


def value_text(
    row: Field, value: int, mask: int | None = None, names: Mapping[int, str] | None = None
) -> str:
    """Write `value` or `value/mask` of a field."""
    if row.form is Form.TCP_FLAGS:
        return _tcp_flags_text(value, row.all_ones if mask is None else mask)
    if row.form is Form.PORT:
        return port_text(value, names)
    if row.form is Form.MAC:
        return mac_text(value) if mask is None else f"{mac_text(value)}/{mac_text(mask)}"
    if row.form in (Form.IPV4, Form.IPV6):
        text = address_text(value, 4 if row.form is Form.IPV4 else 6)
        return text if mask is None else f"{text}/{_address_mask_text(mask, row.bits)}"
    if mask is not None:
        return f"{value:#x}/{mask:#x}"
    return f"{value:#x}" if row.form is Form.HEX else str(value)
