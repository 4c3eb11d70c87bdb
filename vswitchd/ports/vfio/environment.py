"""What a NIC driver is told of its device: struct vs_nic_env, from an open VFIO device."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vswitchd.datapath.dp import ffi

if TYPE_CHECKING:
    from vswitchd.ports.vfio.device import Device


def environment(device: Device, driver: str) -> Any:
    """Make the struct vs_nic_env of a device. Raises VfioError when a virtio device has no modern registers."""
    env, identity = ffi.new("struct vs_nic_env *"), device.identity
    env.vendor, env.device, env.revision = identity.vendor, identity.device, identity.revision
    env.subvendor, env.subdevice = identity.subsystem_vendor, identity.subsystem_device
    for index, bar in enumerate(device.bars):
        if bar.address is not None:
            env.bars[index].base = ffi.cast("uint8_t *", bar.address)
            env.bars[index].size = bar.mapped
    if driver == "virtio_net":
        layout = device.virtio()
        env.notify_multiplier = layout.notify_off_multiplier
        for kind, place in enumerate((layout.common, layout.notify, layout.isr, layout.device), start=1):
            if place is not None:
                env.virtio[kind] = {
                    "bar": place.bar,
                    "present": 1,
                    "offset": place.offset,
                    "length": place.length,
                }
    return env
