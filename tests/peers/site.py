"""A bridge of our switch with hosts in namespaces on its ports, and a controller to obey."""

import re
import sys
from contextlib import ExitStack
from pathlib import Path

from . import need
from .netns import NetNs, unique
from .switch import Switch
from .wait import until

TAGGER = Path(__file__).with_name("tagger.py")
PROGRAMS = ("ovs-ofctl", "ip", "ping", "ethtool", "setpriv")


def need_site() -> None:
    """Require what a site is made with."""
    need.need_root()
    need.need_program(*PROGRAMS)


class Site:
    """The bridge `name`. Hosts are ports 1, 2, ... in their order, and end with `stack`."""

    def __init__(self, switch: Switch, stack: ExitStack, *, secure: bool = True) -> None:
        self.switch = switch
        self.name = unique("st")
        self.hosts: list[NetNs] = []
        self._stack = stack
        switch.add_bridge(self.name, secure=secure)

    @property
    def socket(self) -> Path:
        """Where ovs-ofctl connects."""
        return self.switch.run_dir / f"{self.name}.mgmt"

    @property
    def datapath_id(self) -> str:
        """Sixteen hexadecimal digits."""
        return self.switch.vsctl("get", "Bridge", self.name, "datapath_id").strip('"')

    def add_host(self, address: str, *, gateway: str | None = None, tag: int | None = None) -> NetNs:
        """Add a host on a veth; `address` has its prefix length. With `tag` it speaks in that VLAN only."""
        host = self._stack.enter_context(NetNs())
        # The NIC below a VLAN device has an address that nobody asks for.
        outside = host.add_veth(address if tag is None else "192.0.2.1/32")
        if tag is not None:
            self.add_tagged(host, tag, address)
        if gateway is not None:
            host.run("ip", "route", "add", "default", "via", gateway)
        self.hosts.append(host)
        self.switch.add_device(self.name, outside, len(self.hosts))
        return host

    def add_tagged(self, host: NetNs, tag: int, address: str) -> None:
        """Give the host a device `vTAG` whose frames pass its NIC in that VLAN."""
        log = self.switch.state / f"{host.name}.v{tag}.log"
        child = host.spawn([sys.executable, TAGGER, "eth0", f"v{tag}", str(tag)], log)
        self._stack.enter_context(child).wait_output("ready")
        # Room for the tag on the NIC below.
        host.run("ip", "link", "set", f"v{tag}", "mtu", "1496")
        host.set_address(f"v{tag}", address)

    def obey(self, *targets: str) -> None:
        """Set the controllers; each is looked for once a second at least."""
        self.switch.vsctl("set-controller", self.name, *targets)
        for record in self._controllers():
            self.switch.vsctl("set", "Controller", record, "max_backoff=1000")

    def _controllers(self) -> list[str]:
        return re.findall(r"[0-9a-f-]{36}", self.switch.vsctl("get", "Bridge", self.name, "controller"))

    def wait_connected(self) -> None:
        """Until all controllers are there."""
        for record in self._controllers():
            until(
                lambda record=record: (
                    self.switch.vsctl("get", "Controller", record, "is_connected") == "true"
                ),
                "the switch has its controller",
            )


def ttl_of(host: NetNs, address: str) -> int:
    """The TTL in the answer to one echo request."""
    text = host.run("ping", "-n", "-c", "1", "-W", "20", address)
    return int(text.split("ttl=")[1].split()[0])
