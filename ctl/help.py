"""vsctl's help texts."""

from __future__ import annotations

from importlib import metadata

from ctl.options import OWN_OPTIONS
from vswitchd.config.command import VERBS

_HELP = """vsctl: configures and asks about a running vswitchd
usage: vsctl [OPTIONS] COMMAND [ARG...] [-- [OPTIONS] COMMAND [ARG...]]...

All commands of one call are one transaction: either all of them happen or none.

The whole:
  init                             make the database if there is none
  show                             print the switch as a tree
  emer-reset                       take away controllers, managers, SSL, mirrors, flow export
  comment ARG...                   do nothing (for whoever reads the command)
Bridges:
  [--may-exist] add-br BRIDGE [PARENT VLAN]    make a bridge, or one VLAN of PARENT as a bridge
  [--if-exists] del-br BRIDGE      delete a bridge and its ports
  [--real | --fake] list-br        print the names of the bridges
  br-exists BRIDGE                 exit with 2 if there is no such bridge
  br-to-vlan BRIDGE                print the VLAN of a bridge
  br-to-parent BRIDGE              print the parent of a bridge
  br-set-external-id BRIDGE KEY [VALUE]
  br-get-external-id BRIDGE [KEY]
Ports and interfaces:
  [--may-exist] add-port BRIDGE PORT [COLUMN[:KEY]=VALUE]...    columns of table Port
  [--if-exists] [--with-iface] del-port [BRIDGE] PORT
  list-ports BRIDGE                port-to-br PORT
  list-ifaces BRIDGE               iface-to-br INTERFACE
OpenFlow:
  get-controller BRIDGE            del-controller BRIDGE
  [--inactivity-probe=MS] set-controller BRIDGE TARGET...
  get-fail-mode BRIDGE             del-fail-mode BRIDGE
  set-fail-mode BRIDGE standalone|secure
Managers and SSL:
  get-manager    del-manager       [--inactivity-probe=MS] set-manager TARGET...
  get-ssl        del-ssl           [--bootstrap] set-ssl KEY CERTIFICATE CA-CERTIFICATE
Any table (names may be shortened; RECORD is a name, a UUID, its first digits, or "."):
  [--if-exists] [--columns=C,...] list TABLE [RECORD]...
  [--columns=C,...] find TABLE [COLUMN[:KEY]OP VALUE]...
  [--if-exists] [--id=@NAME] get TABLE RECORD [COLUMN[:KEY]]...
  [--if-exists] set TABLE RECORD COLUMN[:KEY]=VALUE...
  [--if-exists] add TABLE RECORD COLUMN [KEY=]VALUE...
  [--if-exists] remove TABLE RECORD COLUMN KEY|VALUE|KEY=VALUE...
  [--if-exists] clear TABLE RECORD COLUMN...
  [--id=@NAME] create TABLE COLUMN[:KEY]=VALUE...
  [--if-exists] [--all] destroy TABLE [RECORD]...
  wait-until TABLE RECORD [COLUMN[:KEY]OP VALUE]...
  OP is = != < > <= >= {=} {!=} {<} {>} {<=} {>=} {in} {not-in}
Options:
  --db=unix:SOCKET                 the daemon's control socket (default: RUNDIR/db.sock)
  --state=DIR                      everything of the switch lives in DIR (also: VS_STATE)
  --no-wait                        do not wait for vswitchd; without one, change its database
  --retry                          keep trying to connect
  -t, --timeout=SECONDS            give up after this long (exit code 142)
  --dry-run                        change nothing
  --oneline                        one line of output per command
  -f, --format=list|table|csv|json|html    -d, --data=string|bare|json
  --no-headings    --bare    --pretty
  -h, --help       -V, --version
Exit codes: 0 done, 1 refused, 2 br-exists says no, 65 stored but not applied, 142 out of time.
"""


def _version() -> str:
    try:
        return metadata.version("vswitchd")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def info(asked: str) -> str:
    """Return the text for --help, --version, --commands or --options."""
    if asked == "--version":
        return f"vsctl (vswitchd) {_version()}\n"
    if asked == "--commands":
        return "".join(f"{' '.join(verb.options)},{name}\n" for name, verb in VERBS.items())
    if asked == "--options":
        return "".join(f"{option}\n" for option in OWN_OPTIONS)
    return _HELP
