"""Where OpenFlow connections come from and go to: tcp:, ssl:, unix:, ptcp:, pssl:, punix: targets.

The syntax is that of column `target` of table Controller (ovs-vswitchd.conf.db(5)). Addresses of IPv6 stand
in brackets.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

OFP_PORT = 6653
_HOST_NAME = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9_.-]*[A-Za-z0-9_.])?\Z")
_MAX_PATH = 107


class TargetError(ValueError):
    """A target that cannot be understood; one clear line for the Controller row."""


@dataclass(frozen=True, slots=True)
class Target:
    """One parsed target. `host` is an address or name without brackets, "" for any, or a socket's path."""

    text: str
    host: str
    port: int = 0
    passive: bool = False
    tls: bool = False
    unix: bool = False


def parse_target(text: str) -> Target:
    """Parse a target; TargetError says what is wrong and what is expected."""
    scheme, colon, rest = text.partition(":")
    if not colon or scheme not in _SCHEMES:
        raise TargetError(f"{text}: unknown method, expected tcp:, ssl:, unix:, ptcp:, pssl: or punix:")
    passive = scheme.startswith("p")
    if scheme.endswith("unix"):
        return Target(text, _path(text, rest), passive=passive, unix=True)
    first, second = _split(text, rest)
    host, port = (second, first) if passive else (first, second)
    if not passive and not host:
        raise TargetError(f"{text}: no host, expected {scheme}:HOST[:PORT]")
    return Target(text, _host(text, host), _port(text, port), passive=passive, tls=scheme.endswith("ssl"))


_SCHEMES = ("tcp", "ssl", "unix", "ptcp", "pssl", "punix")


def _path(text: str, path: str) -> str:
    if not path:
        raise TargetError(f"{text}: no path, expected unix:PATH or punix:PATH")
    if len(path.encode()) > _MAX_PATH or "\0" in path:
        raise TargetError(f"{text}: the path is too long for a socket (at most {_MAX_PATH} bytes)")
    return path


def _split(text: str, rest: str) -> tuple[str, str]:
    """Split at the colon that is not within brackets."""
    found = re.match(r"(\[[^\]]*\]|[^:\[\]]*)(?::(\[[^\]]*\]|[^:\[\]]*))?\Z", rest)
    if found is None:
        raise TargetError(f"{text}: too many colons, IPv6 addresses stand in brackets: tcp:[::1]:6653")
    return found[1] or "", found[2] or ""


def _host(text: str, host: str) -> str:
    if host.startswith("["):
        address, percent, _zone = host[1:-1].partition("%")
        try:
            ipaddress.IPv6Address(address)
        except ValueError:
            raise TargetError(f"{text}: {host} is not an IPv6 address") from None
        return host[1:-1] if percent else address
    if not host:
        return ""
    if re.fullmatch(r"[0-9.]+", host):
        try:
            return str(ipaddress.IPv4Address(host))
        except ValueError:
            raise TargetError(f"{text}: {host} is not an IPv4 address") from None
    if not _HOST_NAME.match(host) or len(host) > 253:
        raise TargetError(f"{text}: {host} is not an address or host name")
    return host


def _port(text: str, port: str) -> int:
    if not port:
        return OFP_PORT
    if not re.fullmatch(r"[0-9]{1,5}", port) or not 0 <= int(port) <= 65535:
        raise TargetError(f"{text}: {port} is not a port number (0 to 65535)")
    number = int(port)
    if number == 0 and not text.startswith("p"):
        raise TargetError(f"{text}: cannot connect to port 0")
    return number
