"""A listening socket with the owner and mode that were asked for, before anybody can connect to it.

The steps that make it so, on Linux: fchmod before bind gives the file its mode (less the umask) from its first
moment; owner and group follow through a descriptor of that very file, so a symbolic link or another file that
somebody puts in its place meanwhile is not touched; listen comes last, and without it connect is refused.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from dataclasses import dataclass
from pathlib import Path

from vswitchd.paths import MAX_SOCKET_PATH
from vswitchd.ports.base import PortError

_BACKLOG = 4


@dataclass(frozen=True, slots=True)
class Access:
    """Who may connect: the mode (None: as the umask says), user and group (-1: as made) of the socket file."""

    mode: int | None = None
    uid: int = -1
    gid: int = -1


ANYBODY = Access()
"""Whom the umask lets in."""


def is_abstract(address: str) -> bool:
    """Say whether the address is a name without a file: @NAME."""
    return address.startswith("@")


def sockaddr(address: str) -> str:
    """Return the address as the socket calls want it: an abstract name begins with a NUL byte."""
    return "\0" + address[1:] if is_abstract(address) else address


def check_address(name: str, address: str) -> str:
    """Return the address if a socket can have it; raise PortError for port `name`."""
    size = len(os.fsencode(address))
    if address in ("", "@") or "\0" in address:
        raise PortError(f"port {name}: the socket path is empty or holds a NUL byte")
    if size > MAX_SOCKET_PATH:
        raise PortError(
            f"port {name}: socket path {address} is too long ({size} bytes, at most {MAX_SOCKET_PATH})"
        )
    return address


def stream_socket() -> socket.socket:
    """Return a unix stream socket that does not block."""
    return socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)


class BoundSocket:
    """A socket that listens at an address. `close` removes its file, while it still is ours."""

    def __init__(self, name: str, address: str, access: Access) -> None:
        """Bind and listen. Raises PortError, and leaves no file then."""
        self._name, self._address = name, check_address(name, address)
        self._file = -1  # an O_PATH descriptor of the socket file
        self._made = access  # what the file would be with no wishes
        self.sock = stream_socket()
        try:
            if not is_abstract(address):
                self._replace_stale()
            self._bind(access)
            self.set_access(access)
            self.sock.listen(_BACKLOG)
        except OSError as error:
            hint = self._hint(error)
            self.close()
            raise PortError(f"port {name}: {hint}") from None
        except PortError:
            self.close()
            raise

    def _replace_stale(self) -> None:
        """Remove a socket file that nobody listens on. Raises PortError when it is no socket, or in use."""
        try:
            file = os.open(self._address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            return
        try:
            if not stat.S_ISSOCK(os.fstat(file).st_mode):
                raise PortError(
                    f"port {self._name}: {self._address} exists and is no socket; remove it or name another path"
                )
            probe = stream_socket()
            try:
                probe.connect(f"/proc/self/fd/{file}")  # that file, whatever the path names by now
            except ConnectionRefusedError:
                Path(self._address).unlink(missing_ok=True)
                return
            except BlockingIOError:
                pass  # its backlog is full: somebody is there
            finally:
                probe.close()
        finally:
            os.close(file)
        raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))

    def _bind(self, access: Access) -> None:
        if is_abstract(self._address):
            self.sock.bind(sockaddr(self._address))
            return
        mask = os.umask(0)
        try:
            os.fchmod(self.sock.fileno(), 0o777 & ~mask if access.mode is None else access.mode)
            self.sock.bind(self._address)
        finally:
            os.umask(mask)
        try:
            self._file = os.open(self._address, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            Path(self._address).unlink(missing_ok=True)
            raise
        made = os.fstat(self._file)
        if (stat.S_ISSOCK(made.st_mode), made.st_nlink, made.st_uid) != (True, 1, os.geteuid()):
            os.close(self._file)
            self._file = -1
            raise PortError(
                f"port {self._name}: somebody replaced {self._address} while it was made;"
                " name a path in a directory that others cannot write to"
            )
        self._made = Access(0o777 & ~mask, made.st_uid, made.st_gid)

    def set_access(self, access: Access) -> None:
        """Set owner, group and mode; in between nobody may connect who may not before and after. Raises OSError."""
        if self._file < 0:
            return
        path = f"/proc/self/fd/{self._file}"  # fchown and fchmod take no O_PATH descriptor
        now = os.fstat(self._file)
        mode = stat.S_IMODE(now.st_mode)
        wanted = self._made.mode or 0 if access.mode is None else access.mode
        uid = self._made.uid if access.uid < 0 else access.uid
        gid = self._made.gid if access.gid < 0 else access.gid
        if (uid, gid) != (now.st_uid, now.st_gid):
            if mode & ~wanted:
                mode &= wanted
                Path(path).chmod(mode)
            os.chown(path, uid, gid)
        if mode != wanted:
            Path(path).chmod(wanted)

    def _hint(self, error: OSError) -> str:
        if error.errno == errno.EADDRINUSE:
            return f"another program listens on {self._address}; stop it or name another path"
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS) and self._file >= 0:
            return (
                f"no permission to give socket {self._address} to that owner or group"
                " (run as root, or name a group of the switch's user)"
            )
        if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            return (
                f"no permission to make socket {self._address} (run as a user who may write to its directory)"
            )
        if error.errno == errno.ENOENT:
            return f"the directory of socket {self._address} does not exist"
        return f"cannot make socket {self._address}: {error.strerror}"

    def close(self) -> None:
        """Stop listening. Idempotent."""
        self.sock.close()
        if self._file < 0:
            return
        mine = os.fstat(self._file)
        os.close(self._file)
        self._file = -1
        try:
            there = Path(self._address).lstat()
            if (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
                Path(self._address).unlink()
        except OSError:
            pass  # somebody removed it
