"""The errors an operator can meet, as one tree.

    VsError                 one clear line for the operator, and the exit code a program ends with
     +- UsageError          a command line that cannot be understood
     +- ConfigError         a command, value or reference the configuration refuses
     |   +- NotYet          not true yet; the command is tried again when the configuration changes
     (wait-until)
     +- StoreError          the database file is broken, foreign, newer, locked or cannot be written
     +- PathError           a directory or socket path that cannot be used
     +- RpcError            the peer of a control socket is gone, silent or talks nonsense

Everything that is not a VsError is a bug of ours and may show a traceback in the log, never to an operator.
"""

from __future__ import annotations

EXIT_OK = 0
EXIT_ERROR = 1
EXIT_NO_SUCH_BRIDGE = 2
EXIT_NOT_APPLIED = 65
EXIT_TIMEOUT = 142


class VsError(Exception):
    """One line that names what is wrong and what to do; `exit_code` is what a program ends with."""

    def __init__(self, text: str, exit_code: int = EXIT_ERROR) -> None:
        super().__init__(text)
        self.exit_code = exit_code


class UsageError(VsError):
    """A command line that cannot be understood."""


class ConfigError(VsError):
    """A command, value or reference that the configuration refuses; nothing was changed."""


class NotYet(ConfigError):  # noqa: N818 - a state, not a fault
    """A condition is not true yet: try the whole transaction again after the next change."""


class StoreError(VsError):
    """The database file cannot be used: broken, foreign, newer, locked, read-only, or the disk is full."""


class PathError(VsError):
    """A directory, file or socket path cannot be used."""


class RpcError(VsError):
    """A control socket's peer is gone, silent, or answers nonsense; `errno` says why a connection failed."""

    def __init__(self, text: str, exit_code: int = EXIT_ERROR, errno: int | None = None) -> None:
        super().__init__(text, exit_code)
        self.errno = errno
