"""The command line of vs-bind."""

from __future__ import annotations

import os
import sys

from . import actions, devices, persist
from .host import DONE, NOT_USABLE, USAGE, BindError, Host

HELP = """\
vs-bind: which driver a PCI device is bound to, and what is in the way of changing it
usage: vs-bind status [-f text|json] [DEVICE]...
       vs-bind bind [--persist] [--force] [DRIVER] DEVICE...     (default driver: vfio-pci)
       vs-bind unbind [--persist] [--force] DEVICE...            (back to the kernel's own driver)
DEVICE is an address (0000:01:00.0 or 01:00.0) or an interface (eth0).
  --persist           also at the next boot (driverctl, or a udev rule)
  --force             although the device is in use, or without an IOMMU
  -d, --driver=NAME   the driver, where the first word could be mistaken for it
  -f, --format=FORMAT text (default) or json, for status
      --root=DIR      a tree of files in place of this machine's, for tests (or VS_SYSFS)
  -h, --help          this text
All devices are checked before the first one is touched. Exit codes: 0 done (or was so already), 1 the kernel refused,
2 wrong command line, 3 no such device, 4 in use, 5 not permitted, 6 VFIO cannot use it: no IOMMU, or, after bind, its
group is not viable yet.
"""
SHORT = {"-d": "--driver", "-f": "--format", "-h": "--help"}
VALUED = {"--driver", "--format", "--root"}
FLAGS = {"--persist", "--force", "--help"}


def parse(argv: list[str]) -> tuple[dict[str, str], list[str]]:
    """Return the options and the words of a command line. Raises BindError."""
    options: dict[str, str] = {}
    words: list[str] = []
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        name = SHORT.get(name, name)
        if name in FLAGS and not equals:
            options[name] = "yes"
        elif name in VALUED:
            if not equals and not rest:
                raise BindError(f"option {word} needs a value", USAGE)
            options[name] = value if equals else rest.pop(0)
        elif word.startswith("-"):
            raise BindError(f"unknown option {word}; vs-bind --help lists the options", USAGE)
        else:
            words.append(word)
    return options, words


def _status(host: Host, words: list[str], kind: str) -> int:
    if kind not in {"text", "json"}:
        raise BindError(f'--format "{kind}" is neither text nor json', USAGE)
    from . import status  # noqa: PLC0415 - bind does not need it

    found = status.facts(host, [devices.find(host, w) for w in words] if words else devices.listed(host))
    if kind == "json":
        import json  # noqa: PLC0415 - slow to import, rarely needed

        print(json.dumps(found, indent=2))
    else:
        print(status.text(found))
    return DONE


def _driver(host: Host, words: list[str], options: dict[str, str]) -> tuple[str, list[str]]:
    """Part the driver from the devices: the first word is one unless it is an address or an interface."""
    driver = options.get("--driver", "")
    if (
        not driver
        and words
        and not devices.parse_address(words[0])
        and not host.exists(f"{devices.NET}/{words[0]}")
    ):
        driver, words = words[0], words[1:]
        if not words:
            raise BindError(
                f"{driver}: is no address nor an interface here; bind [DRIVER] DEVICE... wants a device",
                USAGE,
            )
    driver = driver or "vfio-pci"
    if "/" in driver or driver.startswith("."):
        raise BindError(f'"{driver}" is not the name of a driver', USAGE)
    return driver, words


def _bind(host: Host, words: list[str], options: dict[str, str]) -> int:
    driver, words = _driver(host, words, options)
    if not words:
        raise BindError("bind wants a device; vs-bind status lists them", USAGE)
    found = [devices.find(host, word) for word in words]
    host.check_permission()
    for device in found:
        actions.check(host, device, driver, force="--force" in options)
    actions.load(host, driver)
    for device in found:
        print("\n".join(actions.bind(host, device, driver)))
        if "--persist" in options:
            print(persist.keep(host, device, driver))
    if not devices.is_vfio(driver):
        return DONE
    code, told = DONE, set()
    for device in found:
        good, lines = actions.usable(host, device)
        if not device.group or device.group not in told:
            print("\n".join(lines))
        told.add(device.group)
        code = code if good else NOT_USABLE
    return code


def _unbind(host: Host, words: list[str], options: dict[str, str]) -> int:
    if not words:
        raise BindError("unbind wants a device; vs-bind status lists them", USAGE)
    found = [devices.find(host, word) for word in words]
    host.check_permission()
    for device in found:
        if devices.is_vfio(device.driver):
            actions.check(host, device, "", force="--force" in options)
    for device in found:
        print("\n".join(actions.unbind(host, device)))
        if "--persist" in options:
            print(persist.forget(host, device))
    return DONE


def run(argv: list[str], host: Host | None = None) -> int:
    """Do what the command line says; return the exit code. Raises BindError."""
    options, words = parse(argv)
    if "--help" in options or not words:
        print(HELP, end="")
        return DONE if "--help" in options else USAGE
    if host is None:
        host = Host(options.get("--root") or os.environ.get("VS_SYSFS", ""))
    command, *rest = words
    if command == "status":
        return _status(host, rest, options.get("--format", "text"))
    if command == "bind":
        return _bind(host, rest, options)
    if command == "unbind":
        return _unbind(host, rest, options)
    raise BindError(f'"{command}" is not a command: status, bind or unbind', USAGE)


def main() -> None:
    """Run the program."""
    try:
        code = run(sys.argv[1:])
        sys.stdout.flush()
    except BindError as error:
        sys.stdout.flush()
        print(f"vs-bind: {error}", file=sys.stderr)
        code = error.code
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()
        code = 1
    sys.exit(code)
