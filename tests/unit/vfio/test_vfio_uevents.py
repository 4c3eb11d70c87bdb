"""Uevents of the PCI bus: what is read of them."""

import asyncio

import pytest

from vswitchd.ports.vfio.uevents import Hotplug, PciEvent, parse

BIND = (
    b"bind@/devices/pci0000:00/0000:00:02.0/0000:01:00.0\0ACTION=bind\0DEVPATH=/devices/pci0000:00/0000:00:02.0/0000:01:00.0\0"
    b"SUBSYSTEM=pci\0DRIVER=vfio-pci\0PCI_CLASS=20000\0PCI_ID=8086:10C9\0PCI_SLOT_NAME=0000:01:00.0\0SEQNUM=2345\0"
)


def test_event_of_a_device():
    assert parse(BIND) == PciEvent("0000:01:00.0", "bind", "vfio-pci")
    added = (
        BIND.replace(b"bind@", b"add@")
        .replace(b"ACTION=bind", b"ACTION=add")
        .replace(b"DRIVER=vfio-pci\0", b"")
    )
    assert parse(added) == PciEvent("0000:01:00.0", "add", None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"libudev\0\xfe\xed\xca\xfe",
        BIND.replace(b"SUBSYSTEM=pci", b"SUBSYSTEM=net"),
        BIND.replace(b"ACTION=bind", b"ACTION=change"),
        BIND.replace(b"PCI_SLOT_NAME=0000:01:00.0\0", b""),
        b"\0" * 100,
        b"a@b\0=\0==\0",
        b"a@b\0\xff\xfe=\xff\0",
    ],
)
def test_other_events_are_none(data):
    assert parse(data) is None


def test_listening_is_given_up_again():
    async def run():
        hotplug = Hotplug(asyncio.get_running_loop(), lambda event: None)
        hotplug.close()
        hotplug.close()

    asyncio.run(run())


class Told:
    """A socket with messages in it."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def recvfrom(self, size):
        if not self.messages:
            raise OSError
        return self.messages.pop(0)

    def fileno(self):
        return 0

    def close(self):
        pass


def test_only_the_kernel_is_believed():
    events = []
    hotplug = Hotplug.__new__(Hotplug)
    hotplug._callback = events.append
    hotplug._socket = Told((BIND, (0, 1)), (BIND.replace(b"01:00.0", b"0a:00.0"), (4711, 1)))
    for _ in range(3):
        hotplug._readable()
    assert [event.address for event in events] == ["0000:01:00.0"]
