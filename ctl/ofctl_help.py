"""vsofctl's help texts, made from its table of verbs."""

from __future__ import annotations

from importlib import metadata

from ctl.ofctl_options import OWN
from ctl.ofctl_verbs import VERBS

_HEAD = """vsofctl: asks and changes an OpenFlow switch
usage: vsofctl [OPTIONS] COMMAND SWITCH [ARG...]

Commands:
"""
_TAIL = """
SWITCH is the name of a bridge, the path of a socket, unix:PATH, tcp:HOST[:PORT] or ssl:HOST[:PORT].
FLOW is a match, options and actions: priority=10,tcp,tp_dst=80,actions=output:2

Options (anywhere):
  -O, --protocols=OpenFlow13       the one version that vsofctl speaks
      --strict                     mod-flows, del-flows: exactly this match and priority
      --names, --no-names          print ports and tables by name or number (default: names on a terminal)
      --stats, --no-stats          print flows with or without counters and ages
      --sort[=FIELD], --rsort[=FIELD]    dump-flows: sort by priority or a field, upwards or downwards
  -f, --format=text|json           how commands that read print; --pretty indents JSON
      --timestamp                  monitor: print when a message came
  -m, --more                       monitor: print packets as hex, too
  -t, --timeout=SECONDS            give up after this long (exit code 142)
      --read-only                  refuse commands that change the switch
  -p, --private-key=FILE  -c, --certificate=FILE  -C, --ca-cert=FILE    for ssl:
      --db=unix:SOCKET             bridges' sockets stand beside this control socket of the daemon
      --state=DIR                  everything of the switch lives in DIR (also: VS_STATE)
  -h, --help       -V, --version
Exit codes: 0 done, 1 refused or no connection, 142 out of time.
"""


def _version() -> str:
    try:
        return metadata.version("vswitchd")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def info(asked: str) -> str:
    """Return the text for --help, --version, --commands or --options."""
    if asked == "--version":
        return f"vsofctl (vswitchd) {_version()}\nOpenFlow versions 0x4:0x4\n"
    if asked == "--commands":
        return "".join(f"{name}\n" for name in VERBS)
    if asked == "--options":
        return "".join(f"{option}\n" for option in OWN)
    rows = [(f"{verb.name} {verb.arguments}", verb.help) for verb in VERBS.values()]
    return _HEAD + "".join(f"  {usage:<36} {text}\n" for usage, text in rows) + _TAIL
