"""The options of a vhost-user port: what an Interface row may say, read and checked as a whole. See OPTIONS.md."""

from __future__ import annotations

import grp
import math
import pwd
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vhostuser.features import DEFAULT, MAX_PAIRS, SUPPORTED, Bit, Offer, Protocol, Virtio
from vswitchd.ports.vhostuser.socket_file import ANYBODY, Access, is_abstract
from vswitchd.ports.vhostuser.sockets import LONGEST_WAIT

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

SERVER, CLIENT = "dpdkvhostuser", "dpdkvhostuserclient"
MAX_RETRIES = 32
RETRIES = 8
"""Open vSwitch's default; VS_VHOST_RETRIES in vhost_port.h."""
SWITCHES: dict[str, tuple[Bit, ...]] = {
    "vhost-iommu-support": (Virtio.ACCESS_PLATFORM,),
    "vhost-postcopy-support": (Protocol.PAGEFAULT,),
    "vhost-inband-notifications": (Protocol.INBAND_NOTIFICATIONS,),
    "userspace-tso-enable": (
        Virtio.GUEST_TSO4,
        Virtio.GUEST_TSO6,
        Virtio.GUEST_ECN,
        Virtio.GUEST_UFO,
        Virtio.GUEST_USO4,
        Virtio.GUEST_USO6,
        Virtio.HOST_TSO4,
        Virtio.HOST_TSO6,
        Virtio.HOST_ECN,
        Virtio.HOST_UFO,
        Virtio.HOST_USO,
    ),
}
"""Open vSwitch has these words (but for inband) in other_config, for all ports; here each port has its own."""
_WAITS = (0.1, 3600.0)
_SOCKET_OPTIONS = ("vhost-socket", "socket-mode", "socket-owner", "socket-group")


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator asked of one port."""

    address: str
    """Path of the socket, or @NAME."""
    access: Access = ANYBODY
    retries: int = RETRIES
    longest_wait: float = LONGEST_WAIT
    offer: Offer = DEFAULT


def read(config: PortConfig, run_dir: Path) -> Options:
    """Return a port's options. Raises PortError, one line that says what is valid."""
    reader = _Reader(config)
    return Options(
        address=reader.address(run_dir),
        access=reader.access(),
        retries=reader.number("tx-retries-max", RETRIES, 0, MAX_RETRIES),
        longest_wait=reader.seconds("reconnect-max", LONGEST_WAIT),
        offer=reader.offer(),
    )


class _Reader:
    """Reads options and knows how to complain."""

    def __init__(self, config: PortConfig) -> None:
        self._name, self._type = config.name, config.type
        self._options: Mapping[str, str] = config.options
        for option in ("vhost-server-path", "reconnect-max") if config.type == SERVER else _SOCKET_OPTIONS:
            if option in config.options and option != "vhost-server-path":
                other = CLIENT if config.type == SERVER else SERVER
                raise self._error(f"options:{option} is for ports of type {other}")

    def _error(self, text: str) -> PortError:
        line = "".join(c if c.isprintable() else "?" for c in text)  # what was typed may hold line ends
        return PortError(f"port {self._name}: {line}")

    def _bad(self, option: str, what: str) -> PortError:
        return self._error(f"options:{option}={self._options[option]} is not {what}")

    def number(self, option: str, default: int, low: int, high: int) -> int:
        """Return a decimal number."""
        text = self._options.get(option, str(default))
        if not text.isascii() or not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
            raise self._bad(option, f"a number from {low} to {high}")
        return int(text)

    def seconds(self, option: str, default: float) -> float:
        """Return a time, also with a decimal point."""
        text = self._options.get(option, str(default))
        low, high = _WAITS
        value = float(text) if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text, re.ASCII) else math.nan
        if not low <= value <= high:
            raise self._bad(option, f"a number of seconds from {low:g} to {high:g}")
        return value

    def address(self, run_dir: Path) -> str:
        """Return where to listen or connect."""
        if self._type == CLIENT:
            address = self._options.get("vhost-server-path", "")
            if not address:
                raise self._error(f"type {CLIENT} needs options:vhost-server-path=<socket of the front-end>")
            return address
        if "vhost-socket" in self._options:
            address = self._options["vhost-socket"]
            if not address.startswith(("/", "@")):
                raise self._bad("vhost-socket", "an absolute path or @NAME")
            return address
        if "/" in self._name or self._name in (".", ".."):
            raise self._error(f"the name of a {SERVER} port is a file name and holds no '/'")
        return str(run_dir / self._name)

    def access(self) -> Access:
        """Return who may connect to a socket of ours."""
        given = [option for option in _SOCKET_OPTIONS[1:] if option in self._options]
        if given and is_abstract(self._options.get("vhost-socket", "")):
            raise self._error(
                f"options:{given[0]} does not go with the abstract socket {self._options['vhost-socket']}:"
                " it has no file, and whoever shares the network namespace may connect"
            )
        uid = self._id("socket-owner", "user", lambda name: pwd.getpwnam(name).pw_uid)
        gid = self._id("socket-group", "group", lambda name: grp.getgrnam(name).gr_gid)
        return Access(self._mode(), uid, gid)

    def _mode(self) -> int | None:
        text = self._options.get("socket-mode")
        if text is None:
            return None
        if not re.fullmatch(r"(0o?)?[0-7]{1,3}", text, re.ASCII):
            raise self._bad("socket-mode", "an octal mode from 0 to 777, such as 0660")
        return int(text, 8)

    def _id(self, option: str, kind: str, find: Callable[[str], int]) -> int:
        text = self._options.get(option)
        if text is None:
            return -1
        if re.fullmatch(r"\d{1,9}", text, re.ASCII):
            return int(text)
        try:
            return find(text)
        except (KeyError, ValueError):
            raise self._error(f'options:{option}: there is no {kind} "{text}"') from None

    def offer(self) -> Offer:
        """Return what to offer."""
        pairs = self.number("vhost-max-queue-pairs", MAX_PAIRS, 1, MAX_PAIRS)
        offer = replace(DEFAULT, pairs=pairs)
        off: list[Bit] = []
        for option, bits in SWITCHES.items():
            text = self._options.get(option)
            if text not in (None, "true", "false"):
                raise self._bad(option, "true or false")
            if text == "true":
                able = [bit for bit in bits if SUPPORTED.has(bit)]
                if not able:
                    raise self._error(f"options:{option}=true: this switch cannot do that")
                offer = offer.plus(able)
            elif text == "false":
                off += bits
        off += self._bits("features-off", Virtio)
        off += self._bits("protocol-features-off", Protocol)
        return offer.without(off)

    def _bits(self, option: str, kind: type[Bit]) -> list[Bit]:
        by_name: dict[str, Bit] = {bit.name.lower(): bit for bit in kind}
        words = [word for word in re.split(r"[\s,]+", self._options.get(option, "").lower()) if word]
        for word in words:
            if word not in by_name:
                raise self._error(f'options:{option}: there is no "{word}"; there are {" ".join(by_name)}')
        return [by_name[word] for word in words]
