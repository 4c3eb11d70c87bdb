"""The program vswitchd: reads its command line, runs the daemon, ends with one clear line when it cannot."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import os
import sys
import tomllib
import traceback
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as package_version
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vswitchd import paths
from vswitchd.errors import EXIT_ERROR, UsageError, VsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from vswitchd.daemon import Daemon, Options

MAX_CACHE = 1 << 26


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message}; vswitchd --help lists the options")


def version() -> str:
    """Return the version of the installed package, or what the tree says that the program runs from."""
    try:
        return package_version("vswitchd")
    except PackageNotFoundError:
        with contextlib.suppress(OSError, ValueError, KeyError):
            text = (Path(__file__).parents[1] / "pyproject.toml").read_text()
            return str(tomllib.loads(text)["project"]["version"])
        return "unknown"


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    result = _Parser(prog="vswitchd", description="A userspace virtual switch.", allow_abbrev=False)
    add = result.add_argument
    add(
        "--state",
        metavar="DIR",
        help="keep configuration, sockets and log in DIR (default: VS_STATE, else the system's)",
    )
    add(
        "--demo",
        action="store_true",
        help="on first start make bridge br0 with two vhost-user ports and a tap; show rates",
    )
    add("--metrics", metavar="HOST:PORT", help="metrics page, or none (default: 127.0.0.1:9476)")
    add("--log-level", metavar="LEVEL", help="what the console shows: off, emer, err, warn, info, dbg")
    add("--log-file", metavar="FILE", help="log to FILE")
    add("--syslog", action="store_true", help="log to syslog as well (vlog/set any:syslog:info)")
    add("--pidfile", metavar="FILE", help="write the process number to FILE")
    add(
        "--cache-entries",
        metavar="N",
        type=int,
        help="exact-match cache entries a core",
    )
    add("-V", "--version", action="store_true", help="print the version")
    return result


def _options(words: argparse.Namespace) -> Options:
    from vswitchd.daemon import Options  # noqa: PLC0415 - --version and --help need no datapath
    from vswitchd.datapath.dp import DEFAULT_EMC_ENTRIES  # noqa: PLC0415

    entries = DEFAULT_EMC_ENTRIES if words.cache_entries is None else words.cache_entries
    if not 0 <= entries <= MAX_CACHE:
        raise UsageError(f"--cache-entries {entries} is not between 0 (no cache) and {MAX_CACHE}")
    return Options(
        paths=paths.find(words.state),
        version=version(),
        metrics=words.metrics,
        pid_file=words.pidfile,
        log_level=words.log_level or ("warn" if words.demo else None),
        log_file=words.log_file,
        syslog=words.syslog,
        cache_entries=entries,
    )


def run(argv: list[str]) -> None:
    """Do what the command line says, until the daemon is told to stop. Raises VsError."""
    words = parser().parse_args(argv)
    if words.version:
        print(f"vswitchd {version()}")
        return
    options = _options(words)
    from vswitchd.daemon import Daemon  # noqa: PLC0415

    started: Callable[[Daemon], None] | None = None
    if words.demo:
        from vswitchd.demo import Demo  # noqa: PLC0415

        started = Demo().start

    async def main() -> None:
        await Daemon(options).run(started)

    asyncio.run(main())
    if words.demo:
        print("\nstopped; the configuration is kept")


def main() -> int:
    """Run the program; return its exit code."""
    logging.raiseExceptions = False  # a log that cannot be written (full disk) is no reason to print traces
    try:
        run(sys.argv[1:])
    except VsError as error:
        print(f"vswitchd: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return EXIT_ERROR
    except Exception as error:  # noqa: BLE001 - a bug of ours: the trace goes to the log, one line to the operator
        trace = " | ".join(line.strip() for line in traceback.format_exc().splitlines())
        print(f"vswitchd: internal error: {error!r} [{trace}]", file=sys.stderr)
        return EXIT_ERROR
    return 0


if __name__ == "__main__":
    sys.exit(main())
