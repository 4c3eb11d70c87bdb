"""Lines of the kernel's log that tell of an IOMMU fault, read into facts (sans-IO).

Three families write them: Intel (DMAR), AMD (AMD-Vi) and Arm (arm-smmu, arm-smmu-v3). Older kernels leave the PCI domain out;
Arm's name a stream, which for PCI is the bus, slot and function where the firmware maps nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_BDF = r"(?P<bdf>(?:[0-9a-f]{4,8}:)?[0-9a-f]{2}:[0-9a-f]{2}\.[0-7])"
_HEX = r"(?:0x)?(?P<iova>[0-9a-f]{1,16})"
_LINES = (
    re.compile(
        rf"DMAR:? ?\[DMA (?P<way>Read|Write)[^\]]*\] Request device \[{_BDF}\].*?fault addr {_HEX}\b"
        r".*?\[fault reason (?P<code>\S+)\]\s*(?P<why>.*)",
        re.IGNORECASE,
    ),
    # The device before "AMD-Vi:" in lines of its driver, in the brackets in those of the IOMMU.
    re.compile(
        rf"{_BDF}: AMD-Vi: Event logged \[IO_PAGE_FAULT [^\]]*?address={_HEX} flags=0x(?P<flags>[0-9a-f]+)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"AMD-Vi: Event logged \[IO_PAGE_FAULT device={_BDF} [^\]]*?address={_HEX} flags=0x(?P<flags>[0-9a-f]+)",
        re.IGNORECASE,
    ),
    re.compile(
        rf"arm-smmu-v3.*? event: F_(?P<why>\w+) client: {_BDF} .*?iova: {_HEX}\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"arm-smmu.*?Unhandled context fault: .*?iova={_HEX}\b.*?cbfrsynra=0x(?P<stream>[0-9a-f]+)",
        re.IGNORECASE,
    ),
)
_AMD_WRITE = 0x20
_MOST = 1024
"""Characters of a line that are looked at."""


@dataclass(frozen=True, slots=True)
class FaultLine:
    """One fault: the device did DMA that nobody allowed."""

    address: str
    """bb:dd.f, with a domain in front where the line says one."""
    iova: int
    way: str
    """"read", "write", or "access" where the line does not say."""

    def concerns(self, address: str) -> bool:
        """Whether this is the device at a full PCI address."""
        return address == self.address or (
            self.address.count(":") == 1 and address.endswith(f":{self.address}")
        )

    def may_concern(self, address: str) -> bool:
        """Whether it may be this device, if it is of conventional PCI: its bridge asks in its place, as bus:00.0."""
        return self.address.endswith(":00.0") and self.concerns(address[: -len("dd.f")] + "00.0")

    def __str__(self) -> str:
        return f"the IOMMU stopped a DMA {self.way} of the device at IOVA {self.iova:#x}"


def parse(line: str) -> FaultLine | None:
    """Read a line of the kernel's log; None when it tells of no fault of a device."""
    text = line[:_MOST]
    for pattern in _LINES:
        if match := pattern.search(text):
            return _fault(match.groupdict())
    return None


def _fault(found: dict[str, str | None]) -> FaultLine:
    stream = int(found.get("stream") or "0", 16)
    address = found.get("bdf") or f"{stream >> 8 & 0xFF:02x}:{stream >> 3 & 0x1F:02x}.{stream & 7}"
    way = (found.get("way") or "").lower()
    if flags := found.get("flags"):
        way = "write" if int(flags, 16) & _AMD_WRITE else "read"
    return FaultLine(address.lower(), int(found["iova"] or "0", 16), way or "access")


def message(record: bytes) -> str:
    """Text of one record of /dev/kmsg: what stands between the first ; and the end of the line."""
    head, _, rest = record.partition(b";")
    return (rest or head).split(b"\n", 1)[0].decode("utf-8", "replace")
