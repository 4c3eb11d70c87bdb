"""Register the port types dpdkvhostuser and dpdkvhostuserclient; see the README."""

from __future__ import annotations

from vswitchd.ports.base import register
from vswitchd.ports.vhostuser.port import CLIENT, SERVER, VhostPort

for _type in (SERVER, CLIENT):
    register(_type, VhostPort)
