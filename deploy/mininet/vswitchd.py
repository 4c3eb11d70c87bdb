"""Mininet with vswitchd: each switch of the topology is a bridge of a vswitchd that runs already.

    mn --custom deploy/mininet/vswitchd.py --switch vswitch --controller remote --wait --test pingall

Options stand behind the name, after commas: `--switch vswitch,fail_mode=standalone`. `vsctl` and `vsofctl` are taken
from the PATH and find the daemon as always (VS_STATE, VS_RUNDIR). The daemon must see the devices that Mininet makes:
it runs on the same machine, in the same network namespace.
"""
# ruff: noqa: INP001 - Mininet reads it as a file

from mininet.log import error
from mininet.node import Switch
from mininet.util import errRun

CONNECT_MS = 1000


class VSwitch(Switch):
    """One bridge, with the name and the port numbers that Mininet gives."""

    def __init__(
        self, name: str, fail_mode: str = "secure", protocols: str | None = None, **params: object
    ) -> None:
        """Take OVSSwitch's options of the same names: `protocols` as OpenFlow13, or "OpenFlow10,OpenFlow13"."""
        super().__init__(name, **params)
        self.fail_mode = fail_mode
        self.protocols = protocols

    @classmethod
    def setup(cls) -> None:
        """End Mininet with a hint if there is no daemon."""
        _out, complaint, code = errRun("vsctl", "--timeout=10", "show")
        if code:
            error(f"{complaint}vswitchd does not answer: start it, and see that `vsctl show` works\n")
            raise SystemExit(1)

    def vsctl(self, *words: object) -> str:
        """Run vsctl and give what it prints; a complaint is shown."""
        out, complaint, _code = errRun("vsctl", "--timeout=30", *map(str, words))
        if complaint:
            error(complaint)
        return str(out).strip()

    def dpctl(self, *words: object) -> str:
        """Run vsofctl on this bridge, for the command `dpctl` of Mininet."""
        return str(self.cmd("vsofctl", words[0], self, *words[1:]))

    def start(self, controllers: list) -> None:
        """Make the bridge with its ports and controllers, in one transaction."""
        targets = [f"{each.protocol}:{each.IP()}:{each.port}" for each in controllers]
        if self.listenPort:
            targets.append(f"ptcp:{self.listenPort}:127.0.0.1")
        words = [
            "--if-exists",
            "del-br",
            self.name,
            "--",
            "add-br",
            self.name,
            "--",
            "set",
            "Bridge",
            self.name,
        ]
        words += [f"fail_mode={self.fail_mode}", f"other_config:datapath-id={self.dpid}"]
        if self.protocols:
            words.append(f"protocols={self.protocols}")
        names = []
        for number, target in enumerate(targets):
            names.append(f"@c{number}")
            words += ["--", f"--id=@c{number}", "create", "Controller", f'target="{target}"']
            words.append(f"max_backoff={CONNECT_MS}")
        if names:
            words += ["--", "set", "Bridge", self.name, f"controller={','.join(names)}"]
        for device in self._devices():
            words += self._port(device)
        self.vsctl(*words)
        for device in self._devices():
            self._complete_checksums(device)

    def _devices(self) -> list:
        return [device for number, device in self.intfs.items() if number and not device.IP()]

    def _port(self, device: object) -> list[str]:
        words = ["--", "add-port", self.name, str(device)]
        return [*words, "--", "set", "Interface", str(device), f"ofport_request={self.ports[device]}"]

    def _complete_checksums(self, device: object) -> None:
        """Turn offloads off at both ends: a switch in user space gets frames as they are, and forwards them so."""
        for end in (device.link.intf1, device.link.intf2):
            end.node.cmd("ethtool", "-K", end, "tx", "off", "tso", "off", "gso", "off", "gro", "off")

    def attach(self, device: object) -> None:
        """Add a port later on."""
        self.vsctl(*self._port(device)[1:])

    def detach(self, device: object) -> None:
        """Take a port away."""
        self.vsctl("del-port", self.name, device)

    def connected(self) -> bool:
        """Whether it has a controller, or needs none."""
        if self.fail_mode == "standalone":
            return True
        records = self.vsctl("get", "Bridge", self.name, "controller").strip("[]").split(", ")
        return any(
            "true" in self.vsctl("get", "Controller", record, "is_connected") for record in records if record
        )

    def stop(self, deleteIntfs: bool = True) -> None:  # noqa: N803 - Mininet's signature
        """Delete the bridge."""
        self.vsctl("--if-exists", "del-br", self.name)
        super().stop(deleteIntfs)


switches = {"vswitch": VSwitch}
