"""vsofctl: asks and changes one OpenFlow switch, with the verbs, options and outputs of ovs-ofctl."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any

from vswitchd.errors import EXIT_OK, UsageError, VsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from ctl.ofctl_options import Options
    from ctl.ofctl_verbs import Verb

PROGRAM = "vsofctl"


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code. Every error is one line on standard error."""
    try:
        code = _run(sys.argv[1:] if argv is None else argv)
        sys.stdout.flush()
    except VsError as error:
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            return _unread()
        if str(error):
            _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        return _unread()
    except KeyboardInterrupt:
        return 130
    return code


def _unread() -> int:
    """Whoever read us has gone; keep Python from complaining again when it closes standard output."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    return 1


def _complain(text: str) -> None:
    for line in text.splitlines():
        sys.stderr.write(f"{PROGRAM}: {line}\n".encode("utf-8", "replace").decode())


def _run(argv: list[str]) -> int:
    from ctl.ofctl_options import parse  # noqa: PLC0415 - errors in imports are errors of this program too

    options = parse(argv)
    if options.info:
        from ctl.ofctl_help import info  # noqa: PLC0415 - only who asks pays

        sys.stdout.write(info(options.info))
        return EXIT_OK
    verb = _find(options)
    if options.timeout:
        _arm(options.timeout)
    result = _function(verb.act)(options.words[1], options.words[2:], options)
    if result is None:
        return EXIT_OK
    read, text = result
    if options.json:
        from ctl.output import to_json  # noqa: PLC0415

        sys.stdout.write(to_json(_function(verb.facts)(read), pretty=options.pretty) + "\n")
    else:
        for part in text():
            sys.stdout.write(part)
    return EXIT_OK


def _find(options: Options) -> Verb:
    """Return the verb of the command line if everything about it is right; raise UsageError."""
    from ctl.ofctl_verbs import VERBS  # noqa: PLC0415

    if not options.words:
        raise UsageError("missing command name; use --help for help")
    name, *arguments = options.words
    verb = VERBS.get(name)
    if verb is None:
        raise UsageError(f"unknown command '{name}'; use --help for help")
    if len(arguments) < verb.least:
        raise UsageError(f"'{name}' command requires at least {verb.least} arguments")
    if len(arguments) > verb.most:
        raise UsageError(f"'{name}' command takes at most {verb.most} arguments")
    if options.read_only and verb.writes:
        raise UsageError(f"'{name}' command does not work in read only mode")
    return verb


def _function(where: str) -> Callable[..., Any]:
    from importlib import import_module  # noqa: PLC0415

    module, _, name = where.partition(":")
    function: Callable[..., Any] = getattr(import_module(f"ctl.{module}"), name)
    return function


def _arm(seconds: int) -> None:
    """Die of SIGALRM after this many seconds, as ovs-ofctl does: a shell sees exit code 142."""
    import signal  # noqa: PLC0415

    def expired(number: int, _: Any) -> None:
        _complain(f"no answer within {seconds} seconds (--timeout)")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)


if __name__ == "__main__":
    sys.exit(main())
