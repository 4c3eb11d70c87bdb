"""packet-out: packets given as hex, with what to do with them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from ctl.ofctl_session import PortNumbers, open_switch, usage_errors
from vswitchd.errors import UsageError
from vswitchd.ofproto.constants import OFP_NO_BUFFER, OFPP
from vswitchd.ofproto.flowactions import parse_actions
from vswitchd.ofproto.flowvalues import FlowTextError, port
from vswitchd.ofproto.flowwords import split_words
from vswitchd.ofproto.messages import PacketOut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ctl.ofctl_options import Options

_ACTIONS = re.compile(r"(?:^|[\s,])actions?\s*=")
_LONGEST = 65000  # with actions, a message has 65535 bytes


def packet_out(target: str, words: list[str], options: Options) -> None:
    """Send one packet (in_port=PORT,packet=HEX,actions=ACTIONS) or some (IN_PORT ACTIONS PACKET...)."""
    if len(words) == 2:
        raise UsageError("'packet-out' takes one argument (in_port=...,packet=...,actions=...) or IN_PORT "
                         "ACTIONS PACKET...")  # fmt: skip
    with open_switch(target, options) as client:
        ports = PortNumbers(client)
        with usage_errors():
            if len(words) == 1:
                messages = [parse_packet_out(words[0], ports)]
            else:
                in_port, actions = port(words[0], "in_port", ports), parse_actions(words[1], ports)
                messages = [
                    PacketOut(OFP_NO_BUFFER, in_port, actions, _hex(text, "packet data"))
                    for text in words[2:]
                ]
        for message in messages:
            client.command(message)


def parse_packet_out(text: str, ports: Mapping[str, int]) -> PacketOut:
    """Read a packet-out; without in_port it comes from CONTROLLER. Raises FlowTextError."""
    found = _ACTIONS.search(text)
    actions = parse_actions(text[found.end() :], ports) if found else ()
    in_port = int(OFPP.CONTROLLER)
    data: bytes | None = None
    for key, value in split_words(text[: found.start()] if found else text):
        if key == "in_port" and value:
            in_port = port(value, key, ports)
        elif key == "packet":
            data = _hex(value or "", "packet")
        else:
            raise FlowTextError(f"unknown keyword {key}")
    if data is None:
        raise FlowTextError("must specify packet")
    return PacketOut(OFP_NO_BUFFER, in_port, actions, data)


def _hex(text: str, what: str) -> bytes:
    digits = "".join(text.split())
    if not re.fullmatch(r"([0-9A-Fa-f]{2})+", digits):
        shown = digits if len(digits) <= 40 else f"{digits[:40]}..."
        raise FlowTextError(f'{what}: "{shown}" is not pairs of hex digits')
    if len(digits) > 2 * _LONGEST:
        raise FlowTextError(f"{what}: {len(digits) // 2} bytes, at most {_LONGEST} are possible")
    return bytes.fromhex(digits)
