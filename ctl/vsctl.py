"""vsctl: asks about and changes the switch's configuration, with the verbs of ovs-vsctl.

It parses the command line, sends it whole to the daemon, which runs it in one transaction, prints the
answers and waits until the daemon has applied the change. With --no-wait and no daemon it opens the
database itself.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import TYPE_CHECKING, Any

from vswitchd.errors import EXIT_NOT_APPLIED, EXIT_OK, RpcError, UsageError, VsError

if TYPE_CHECKING:
    from ctl.options import Options
    from vswitchd.paths import Paths
    from vswitchd.rpc_client import RpcClient

PROGRAM = "vsctl"
_RETRY_SECONDS = 0.2
_LOCK_SECONDS = 5


def main(argv: list[str] | None = None) -> int:
    """Run the program; return its exit code. Every error is one line on standard error."""
    try:
        return _run(sys.argv[1:] if argv is None else argv)
    except VsError as error:
        if str(error):
            _complain(str(error))
        return error.exit_code
    except BrokenPipeError:
        # Whoever read us has gone; keep Python from complaining again when it closes standard output.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except KeyboardInterrupt:
        return 130


def _complain(text: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {text}\n".encode("utf-8", "replace").decode())


def _run(argv: list[str]) -> int:
    from ctl.options import parse  # noqa: PLC0415 - errors in imports of options are errors of this program too

    options = parse(argv)
    if options.info:
        from ctl.help import info  # noqa: PLC0415 - only who asks pays

        sys.stdout.write(info(options.info))
        return EXIT_OK
    if options.timeout:
        _arm(options.timeout)
    from vswitchd import paths  # noqa: PLC0415

    where = paths.find(options.state)
    client = _connect(options, where)
    if client is None:
        _tell(options, _direct(options, where))
        return EXIT_OK
    with client:
        result = _ask(client, options)
        _tell(options, result)
        if result["next_cfg"] is None or not options.wait:
            return EXIT_OK
        wanted = {"next_cfg": result["next_cfg"], "interfaces": result["interfaces"]}
        try:
            errors = client.call("wait_cfg", wanted)["errors"]
        except RpcError as error:
            raise RpcError(
                f"{error}; the change is stored but may not be applied", EXIT_NOT_APPLIED
            ) from None
    return _report(errors, where)


def _tell(options: Options, result: dict[str, Any]) -> None:
    for text in result["warnings"]:
        _complain(f"warning: {text}")
    _print(options, result["answers"])


def _arm(seconds: int) -> None:
    """Die of SIGALRM after this many seconds, as ovs-vsctl does: a shell sees exit code 142."""
    import signal  # noqa: PLC0415

    def expired(number: int, _: Any) -> None:
        _complain(f"no answer within {seconds} seconds (--timeout)")
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    signal.signal(signal.SIGALRM, expired)
    signal.alarm(seconds)


def _connect(options: Options, where: Paths) -> RpcClient | None:
    """Return a connection to the daemon; None if there is none and the database shall be used itself."""
    from vswitchd.rpc_client import RpcClient  # noqa: PLC0415

    path = _socket_path(options.db) if options.db else where.db_sock
    while True:
        try:
            return RpcClient(path)
        except RpcError as error:
            absent = error.errno in (errno.ENOENT, errno.ECONNREFUSED)
            if absent and not options.wait and not options.db:
                return None
            if not options.retry or not absent:
                reason = os.strerror(error.errno or errno.EIO)
                text = f"unix:{path}: database connection failed ({reason})"
                hint = (
                    "; is vswitchd running? start it, or use --no-wait to change its database"
                    if absent
                    else ""
                )
                raise RpcError(text + hint, errno=error.errno) from None
        _pause()


def _ask(client: RpcClient, options: Options) -> dict[str, Any]:
    """Run the commands in the daemon; return the outcome."""
    params = {
        "commands": [[name, list(args), opts] for name, args, opts in options.commands],
        "dry_run": options.dry_run,
        "no_wait": not options.wait,
    }
    try:
        result: dict[str, Any] = client.call("vsctl", params)
    except UnicodeEncodeError:
        raise UsageError("the command line is not valid UTF-8") from None
    return result


def _socket_path(db: str) -> str:
    kind, _, path = db.partition(":")
    if kind != "unix" or not path:
        raise UsageError(f"--db={db}: vswitchd listens on unix sockets only; use --db=unix:PATH")
    return path


def _pause() -> None:
    import time  # noqa: PLC0415

    time.sleep(_RETRY_SECONDS)


def _direct(options: Options, where: Paths) -> dict[str, Any]:
    """Run the commands on the database file; while a condition is not true, let go of it and try again."""
    from vswitchd.config.direct import run_direct  # noqa: PLC0415 - SQLite is for this path only
    from vswitchd.errors import NotYet  # noqa: PLC0415

    # SQLite waits for a lock without looking at signals, so it must not wait longer than --timeout.
    patience = min(options.timeout or _LOCK_SECONDS, _LOCK_SECONDS)
    while True:
        try:
            return run_direct(where.config_db, options.commands, dry_run=options.dry_run, timeout=patience)
        except NotYet:
            _pause()


def _print(options: Options, answers: list[dict[str, Any]]) -> None:
    tables = 0
    for command, answer in zip(options.commands, answers, strict=True):
        if "columns" in answer:
            from ctl import output  # noqa: PLC0415

            text = output.render(_table(answer), options.style, first=tables == 0 or options.oneline)
            tables += bool(text)
        else:
            text = answer["text"]
            if options.style.format == "json" and not options.oneline:
                text = _json_text(command.name, answer, options)
        sys.stdout.write(one_line(text) if options.oneline else text)
    sys.stdout.flush()


def _json_text(verb: str, answer: dict[str, Any], options: Options) -> str:
    from ctl import output  # noqa: PLC0415
    from vswitchd.config.command import VERBS  # noqa: PLC0415

    if not VERBS[verb].reads or verb in ("br-exists", "wait-until"):
        return str(answer["text"])
    return output.to_json(answer["data"], pretty=options.style.pretty) + "\n"


def _table(answer: dict[str, Any]) -> Any:
    from ctl import output  # noqa: PLC0415
    from vswitchd.config import wire  # noqa: PLC0415

    headings = [(column[0], wire.unpack_type(column[1:])) for column in answer["columns"]]
    kinds = [kind for _, kind in headings]
    rows = [
        [wire.unpack_datum(k, cell) for k, cell in zip(kinds, row, strict=True)] for row in answer["rows"]
    ]
    return output.Table(headings, rows)


def _report(errors: list[list[str]], where: Paths) -> int:
    if not errors:
        return EXIT_OK
    for name, error in errors:
        detail = f": {error}" if error else ""
        _complain(f"Error detected while setting up '{name}'{detail}.  See vswitchd log for details.")
    _complain(f'The default log directory is "{where.log}".')
    return EXIT_NOT_APPLIED


def one_line(text: str) -> str:
    """Return text on one line, as --oneline prints it: newlines and backslashes escaped."""
    return text.removesuffix("\n").replace("\\", "\\\\").replace("\n", "\\n") + "\n"


if __name__ == "__main__":
    sys.exit(main())
