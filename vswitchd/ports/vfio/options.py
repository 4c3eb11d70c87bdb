"""The options of a VFIO port: what an Interface row may say, read and checked as a whole. See OPTIONS.md."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.datapath.dp import lib
from vswitchd.ports.base import PortConfig, PortError
from vswitchd.ports.vfio.pci import normalise

if TYPE_CHECKING:
    from collections.abc import Mapping

VFIO, DPDK = "vfio", "dpdk"
RX_DESC = TX_DESC = 1024
"""A core that is away for 100 us at 10 Mpps finds 1,000 frames waiting."""
MAX_DESC: int = lib.VS_NIC_MAX_DESC
MAX_QUEUES: int = lib.VS_NIC_QUEUES
DEFAULT_MTU = 1500
_LEAST_MTU, _MOST_MTU = 68, 65535

OFFLOADS: dict[str, int] = {
    "rx-csum": lib.VS_NIC_F_RX_CSUM,
    "tx-csum": lib.VS_NIC_F_TX_CSUM | lib.VS_NIC_F_TSO4 | lib.VS_NIC_F_TSO6,
    "tso": lib.VS_NIC_F_TSO4 | lib.VS_NIC_F_TSO6,
    "rss": lib.VS_NIC_F_RSS,
}
_FLOW = {
    "rx-flow-ctrl": lib.VS_NIC_PAUSE_RX,
    "tx-flow-ctrl": lib.VS_NIC_PAUSE_TX,
    "flow-ctrl-autoneg": lib.VS_NIC_PAUSE_AUTO,
}


@dataclass(frozen=True, slots=True)
class Options:
    """What an operator asked of one port."""

    pci: str
    """Address as the kernel writes it: 0000:01:00.0."""
    n_rxq: int = 1
    n_txq: int | None = None
    """None: as many as the device has, up to one for each core."""
    rx_desc: int = RX_DESC
    tx_desc: int = TX_DESC
    mtu: int = DEFAULT_MTU
    mac: str | None = None
    promiscuous: bool = True
    flow_control: int = 0
    """VS_NIC_PAUSE_*."""
    features_off: int = 0
    """VS_NIC_F_*."""


def read(config: PortConfig) -> Options:
    """Return a port's options. Raises PortError, one line that says what is valid."""
    reader = _Reader(config)
    flow = sum(bit for word, bit in _FLOW.items() if reader.switch(word, default=False))
    vf_mac = config.options.get("dpdk-vf-mac")
    if vf_mac is not None and not re.fullmatch(r"([0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}", vf_mac):
        raise reader.bad("dpdk-vf-mac", "a MAC address such as 02:00:00:00:00:01")
    if config.n_rxq is not None and config.n_rxq > MAX_QUEUES:
        raise reader.bad("n_rxq", f"a number from 1 to {MAX_QUEUES}")
    if config.mtu_request is not None and not _LEAST_MTU <= config.mtu_request <= _MOST_MTU:
        raise reader.error(
            f"mtu_request {config.mtu_request} is not a number from {_LEAST_MTU} to {_MOST_MTU}"
        )
    return Options(
        pci=reader.address(),
        n_rxq=config.n_rxq or 1,
        n_txq=reader.number("n_txq", None, 1, MAX_QUEUES),
        rx_desc=reader.number("n_rxq_desc", RX_DESC, 1, MAX_DESC) or RX_DESC,
        tx_desc=reader.number("n_txq_desc", TX_DESC, 1, MAX_DESC) or TX_DESC,
        mtu=config.mtu_request or DEFAULT_MTU,
        mac=vf_mac or config.mac,
        promiscuous=reader.switch("promiscuous", default=True),
        flow_control=flow,
        features_off=reader.offloads(),
    )


class _Reader:
    """Reads options and knows how to complain."""

    def __init__(self, config: PortConfig) -> None:
        self._name, self._type = config.name, config.type
        self._options: Mapping[str, str] = config.options

    def error(self, text: str) -> PortError:
        line = "".join(c if c.isprintable() else "?" for c in text)  # what was typed may hold line ends
        return PortError(f"port {self._name}: {line}")

    def bad(self, option: str, what: str) -> PortError:
        return self.error(f"options:{option}={self._options[option]} is not {what}")

    def number(self, option: str, default: int | None, low: int, high: int) -> int | None:
        text = self._options.get(option)
        if text is None:
            return default
        if not text.isascii() or not text.isdecimal() or len(text) > 9 or not low <= int(text) <= high:
            raise self.bad(option, f"a number from {low} to {high}")
        return int(text)

    def switch(self, option: str, *, default: bool) -> bool:
        text = self._options.get(option)
        if text not in (None, "true", "false"):
            raise self.bad(option, "true or false")
        return default if text is None else text == "true"

    def address(self) -> str:
        """PCI address: options:pci, or what operators of Open vSwitch type."""
        pci, devargs = self._options.get("pci"), self._options.get("dpdk-devargs")
        if pci is not None and devargs is not None and pci != devargs:
            raise self.error("options:pci and options:dpdk-devargs name different devices: give one of them")
        text = pci if pci is not None else devargs
        if not text:
            raise self.error(
                f"type {self._type} needs options:{'dpdk-devargs' if self._type == DPDK else 'pci'}=<PCI address>, "
                "such as 0000:01:00.0 (deploy/vs-bind status shows what there is)"
            )
        if text.startswith(("net_", "eth_", "class=", "vdev:")):
            raise self.error(
                f"'{text}' names a driver or class of DPDK, which this switch does without: give a PCI address, or use "
                "type=system for an interface of the kernel"
            )
        address, comma, arguments = text.removeprefix("pci:").partition(",")
        if comma and arguments:
            raise self.error(
                f"device arguments are DPDK's and have no meaning here: leave out ',{arguments}'"
            )
        return normalise(address)

    def offloads(self) -> int:
        """Features that are not to be used."""
        words = [word for word in re.split(r"[\s,]+", self._options.get("offloads-off", "").lower()) if word]
        for word in words:
            if word not in OFFLOADS:
                raise self.error(
                    f'options:offloads-off: there is no "{word}"; there are {" ".join(OFFLOADS)}'
                )
        mask = 0
        for word in words:
            mask |= OFFLOADS[word]
        return mask
