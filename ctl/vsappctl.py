"""vsappctl: asks a running vswitchd, with the verbs, options and exit codes of ovs-appctl.

    vsappctl [-t TARGET] [-T SECS] [-f text|json] COMMAND [ARG...]

Exit codes: 0 done, 1 the daemon cannot be reached or the options are wrong (or `doctor` found a problem), 2 the
daemon answered with an error, 142 no answer in time.
"""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import dataclass, field
from typing import Any, NoReturn

from vswitchd import paths
from vswitchd.errors import EXIT_ERROR, EXIT_OK, EXIT_TIMEOUT, RpcError, UsageError, VsError
from vswitchd.rpc_client import RpcClient

USAGE = """\
vsappctl: ask a running vswitchd
usage: vsappctl [OPTION]... COMMAND [ARG]...
  -t, --target=TARGET   control socket, or a name (vswitchd) for the default one
      --db=unix:PATH    the same, as vsctl names it
  -T, --timeout=SECS    end with 142 after SECS seconds without an answer
  -f, --format=FORMAT   text (default) or json
      --pretty          indent JSON
  -h, --help            this text
  -V, --version         version of this program
vsappctl list-commands shows what the daemon knows. vsappctl doctor also works while no daemon runs.
"""
DOCTOR = "doctor"
NAMES = {"vswitchd", "ovs-vswitchd"}
SHORT = {"-t": "--target", "-T": "--timeout", "-f": "--format", "-h": "--help", "-V": "--version"}
VALUED = {"--target", "--db", "--timeout", "--format", "--state"}
FLAGS = {"--pretty", "--help", "--version"}
# May also stand after the command, where words such as -pmd belong to the command.
ANYWHERE = {"-f", "--format", "--pretty"}


@dataclass(slots=True)
class Options:
    """A parsed command line."""

    values: dict[str, str] = field(default_factory=dict)
    words: list[str] = field(default_factory=list)


def parse(argv: list[str]) -> Options:
    """Parse the words after the program's name. Raises UsageError."""
    options = Options()
    rest = list(argv)
    while rest:
        word = rest.pop(0)
        name, equals, value = word.partition("=")
        if word[:2] in SHORT and len(word) > 2 and not word.startswith("--") and not options.words:
            name, equals, value = word[:2], "=", word[2:]
        known = SHORT.get(name, name)
        if word == "--" and not options.words:
            options.words = rest
            break
        if options.words and name not in ANYWHERE:
            options.words.append(word)
        elif known in FLAGS and not equals:
            options.values[known] = "yes"
        elif known in VALUED:
            if not equals:
                if not rest:
                    raise UsageError(f"option {word} needs a value")
                value = rest.pop(0)
            options.values[known] = value
        elif word.startswith("-") and len(word) > 1:
            raise UsageError(f"unknown option {word}; vsappctl --help lists the options")
        else:
            options.words.append(word)
    return options


def socket_path(options: Options) -> str:
    """Return the control socket that the options name. Raises UsageError."""
    target = options.values.get("--target") or options.values.get("--db") or ""
    if target.startswith("unix:"):
        return target.removeprefix("unix:")
    if "/" in target:
        return target
    if target and target not in NAMES:
        raise UsageError(f'target "{target}" is neither a socket path nor vswitchd')
    return paths.find(options.values.get("--state")).db_sock


def _seconds(text: str | None) -> int:
    if text is None:
        return 0
    if not (text.isascii() and text.isdigit()) or not 0 < int(text) < 1 << 31:
        raise UsageError(f'--timeout "{text}" is not a number of seconds of at least 1')
    return int(text)


def _late(*_: object) -> NoReturn:
    print("vsappctl: no answer in time", file=sys.stderr)
    sys.exit(EXIT_TIMEOUT)


def _ask(options: Options, command: str, args: list[str]) -> dict[str, Any]:
    """Return the daemon's answer; of `doctor` without a daemon, what this process finds. Raises VsError."""
    try:
        with RpcClient(socket_path(options)) as client:
            answer: dict[str, Any] = client.call("appctl", {"command": command, "args": args})
            return answer
    except RpcError as error:
        target = options.values.get("--target") or options.values.get("--db") or ""
        if command != DOCTOR or (
            target and target not in NAMES
        ):  # of a socket's path no state directory follows
            raise
        from ctl import doctor  # noqa: PLC0415 - slow to import, rarely needed

        if not doctor.absent(error):
            raise
        return doctor.diagnose(options.values.get("--state"), args)


def run(argv: list[str]) -> tuple[str, int]:
    """Do what the command line says; return what to print and the exit code. Raises VsError."""
    options = parse(argv)
    if "--help" in options.values:
        return USAGE.rstrip(), EXIT_OK
    if "--version" in options.values:
        from importlib.metadata import version  # noqa: PLC0415 - slow to import, rarely needed

        return f"vsappctl {version('vswitchd')}", EXIT_OK
    kind = options.values.get("--format", "text")
    if kind not in {"text", "json"}:
        raise UsageError(f'--format "{kind}" is neither text nor json')
    if not options.words:
        raise UsageError("no command given; vsappctl --help shows how, list-commands what")
    if seconds := _seconds(options.values.get("--timeout")):
        signal.signal(signal.SIGALRM, _late)
        signal.alarm(seconds)
    command, *args = options.words
    answer = _ask(options, command, args)
    code = EXIT_ERROR if command == DOCTOR and answer["data"]["problems"] else EXIT_OK
    if kind == "json":
        return json.dumps(answer["data"], indent=2 if "--pretty" in options.values else None), code
    return str(answer["text"]), code


def main() -> None:
    """Run the program."""
    try:
        text, code = run(sys.argv[1:])
        if text:
            print(text)
        sys.stdout.flush()
        sys.exit(code)
    except VsError as error:
        print(f"vsappctl: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (BrokenPipeError, KeyboardInterrupt):
        sys.stderr.close()
        sys.exit(1)


if __name__ == "__main__":
    main()
