"""The machine as the doctor sees it: a seam of few questions, so that tests can answer them. It changes nothing."""

from __future__ import annotations

import fcntl
import grp
import os
import pwd
import socket
import struct
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class FileFacts:
    """What stat(2) says of a file that matters here."""

    mode: int
    uid: int
    gid: int


@dataclass(frozen=True, slots=True)
class Space:
    """Room in a file system, in bytes; `inodes_free` None: it does not count them."""

    free: int
    total: int
    inodes_free: int | None


@dataclass(frozen=True, slots=True)
class Account:
    """A user with all its groups."""

    name: str
    uid: int
    gids: frozenset[int]


SIOCGIFFLAGS = 0x8913  # netdevice(7)


class Host:
    """The real machine. Any thread; nothing here waits for longer than a file system does."""

    def read(self, path: str) -> str | None:
        """Return a small file's text without the white space around it, or None."""
        try:
            return Path(path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """Return what a directory holds, sorted; nothing where there is none."""
        try:
            return sorted(entry.name for entry in os.scandir(path))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """Return the last part of a symbolic link's target, or ""."""
        try:
            return Path(path).readlink().name
        except OSError:
            return ""

    def exists(self, path: str) -> bool:
        """Say whether there is such a file."""
        try:
            return Path(path).exists()
        except OSError:
            return False

    def stat(self, path: str) -> FileFacts | None:
        """Return what is known of a file (links are followed), or None."""
        try:
            found = Path(path).stat()
        except OSError:
            return None
        return FileFacts(found.st_mode, found.st_uid, found.st_gid)

    def try_open(self, path: str) -> int:
        """Open a device file for reading and writing, and close it: 0, or the errno. For files that allow that."""
        try:
            os.close(os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        except OSError as error:
            return error.errno or -1
        return 0

    def may_use(self, path: str) -> bool:
        """Say whether this process may read and write a file."""
        return os.access(path, os.R_OK | os.W_OK, effective_ids=True)

    def interface(self, name: str) -> tuple[int, int] | None:
        """Return (index, IFF_ flags) of an interface of this process's network namespace, or None.

        /sys/class/net is not asked: it shows the namespace in which /sys was mounted.
        """
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as handle:
            try:
                answer = fcntl.ioctl(handle, SIOCGIFFLAGS, struct.pack("16sH22x", name.encode()[:15], 0))
                return socket.if_nametoindex(name), struct.unpack_from("H", answer, 16)[0]
            except OSError:
                return None

    def space(self, path: str) -> Space | None:
        """Return the room in the file system of a path, or None."""
        try:
            found = os.statvfs(path)
        except OSError:
            return None
        block = found.f_frsize
        inodes = found.f_favail if found.f_files else None
        return Space(found.f_bavail * block, found.f_blocks * block, inodes)

    def account(self, name: str) -> Account | None:
        """Return a user by name, or None."""
        try:
            user = pwd.getpwnam(name)
        except KeyError:
            return None
        return Account(name, user.pw_uid, frozenset(os.getgrouplist(name, user.pw_gid)))

    def user_name(self, uid: int) -> str:
        """Return a user's name, or the number."""
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def group_name(self, gid: int) -> str:
        """Return a group's name, or the number."""
        try:
            return grp.getgrgid(gid).gr_name
        except KeyError:
            return str(gid)

    def holders(self, path: str) -> list[tuple[int, str]]:
        """Return (pid, name) of the processes that have a file open, as far as this process may see."""
        found = []
        for pid in filter(str.isdigit, self.names("/proc")):
            handles = f"/proc/{pid}/fd"
            if any(self._target(f"{handles}/{handle}") == path for handle in self.names(handles)):
                found.append((int(pid), self.read(f"/proc/{pid}/comm") or "?"))
        return found

    @staticmethod
    def _target(link: str) -> str:
        try:
            return str(Path(link).readlink())
        except OSError:  # closed since it was listed
            return ""
