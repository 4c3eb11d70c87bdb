"""Register the port types vfio and dpdk (the same, as operators of Open vSwitch write it); see the README."""

from __future__ import annotations

from vswitchd.ports.base import register
from vswitchd.ports.vfio.nic_status import HELP
from vswitchd.ports.vfio.options import DPDK, VFIO
from vswitchd.ports.vfio.port import VfioPort

__all__ = ["HELP", "VfioPort"]

for _type in (VFIO, DPDK):
    register(_type, VfioPort)
