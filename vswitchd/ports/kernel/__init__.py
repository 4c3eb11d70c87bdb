"""Register the port types tap, internal, system (also ""), patch and test; see the README."""

from __future__ import annotations

from vswitchd.ports.base import Opener, register
from vswitchd.ports.kernel.system import SystemPort
from vswitchd.ports.kernel.tap import TapPort
from vswitchd.ports.kernel.virtual import PatchPort, TestPort

_TYPES: dict[str, Opener] = {
    "tap": TapPort,
    "internal": TapPort,
    "system": SystemPort,
    "": SystemPort,
    "patch": PatchPort,
    "test": TestPort,
}
for _type, _port in _TYPES.items():
    register(_type, _port)
