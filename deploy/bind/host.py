"""The machine as vs-bind sees it: files below a root, programs, and one question to the kernel. Tests replace it."""
# pathlib is slow to import (see __init__.py), so:
# ruff: noqa: PTH105, PTH108, PTH110, PTH115, PTH116, PTH103, PTH119, PTH120, PTH123, PTH208

from __future__ import annotations

import errno
import os
import stat

DONE, KERNEL_REFUSED, USAGE, NO_DEVICE, IN_USE, NOT_PERMITTED, NOT_USABLE = range(7)
"""The exit codes; main.py explains them."""

WHY = {
    errno.EACCES: "not permitted; run it as root",
    errno.EPERM: "not permitted; a kernel in lockdown (Secure Boot) or a container without CAP_SYS_ADMIN refuses it",
    errno.EROFS: "/sys is read-only here, as in a container; run it on the host",
    errno.EBUSY: "somebody holds the device",
    errno.ENODEV: "the device is gone, or the driver does not take it",
    errno.ENOENT: "this kernel does not have that file",
    errno.EINVAL: "the kernel does not take that value",
}


class BindError(Exception):
    """What cannot be done, in lines that say what to do, and the exit code for it."""

    def __init__(self, text: str, code: int = KERNEL_REFUSED) -> None:
        super().__init__(text)
        self.code = code


class Host:
    """The real machine, or the tree of files below `root` that stands for it (programs are not run then)."""

    def __init__(self, root: str = "") -> None:
        self.root = os.path.realpath(root) if root else ""

    def read(self, path: str) -> str | None:
        """Return a file's text without the white space around it, or None."""
        try:
            with open(self.root + path, encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    def names(self, path: str) -> list[str]:
        """Return what a directory holds, sorted; nothing where it is missing."""
        try:
            return sorted(os.listdir(self.root + path))
        except OSError:
            return []

    def link(self, path: str) -> str:
        """Return the last part of what a symbolic link points to, or ""."""
        try:
            return os.path.basename(os.readlink(self.root + path))
        except OSError:
            return ""

    def real(self, path: str) -> str:
        """Return a path with its links followed."""
        return os.path.realpath(self.root + path).removeprefix(self.root)

    def exists(self, path: str) -> bool:
        """Say whether there is such a file."""
        return os.path.exists(self.root + path)

    def write(self, path: str, text: str) -> None:
        """Write to a file of /sys, in one system call. Raises BindError."""
        try:
            handle = os.open(self.root + path, os.O_WRONLY | (os.O_TRUNC if self.root else 0))
            try:
                os.write(handle, text.encode())
            finally:
                os.close(handle)
        except OSError as error:
            why = WHY.get(error.errno or 0, error.strerror)
            code = (
                NOT_PERMITTED if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS} else KERNEL_REFUSED
            )
            raise BindError(f'{path}: writing "{text.strip()}" failed: {why}', code) from None

    def save(self, path: str, text: str) -> None:
        """Replace an ordinary file at once; an empty text removes it. Raises BindError."""
        full = self.root + path
        try:
            if not text:
                if os.path.exists(full):
                    os.unlink(full)
                return
            os.makedirs(os.path.dirname(full), exist_ok=True)
            with open(full + ".new", "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(full + ".new", full)
        except OSError as error:
            raise BindError(f"{path}: cannot be written: {error.strerror}", NOT_PERMITTED) from None

    def which(self, program: str) -> str:
        """Return where a program is, or ""."""
        places = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin")
        return next((f"{p}/{program}" for p in places if self.exists(f"{p}/{program}")), "")

    def run(self, *words: str) -> tuple[int, str]:
        """Run a program; return its exit code and what it wrote. 127: it is not there."""
        path = self.which(words[0])
        if not path or self.root:
            return 127, f"there is no {words[0]} here"
        out, into = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, into, 1), (os.POSIX_SPAWN_DUP2, into, 2)]
        pid = os.posix_spawn(
            path, words, {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}, file_actions=actions
        )
        os.close(into)
        with open(out, encoding="utf-8", errors="replace") as file:
            text = file.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), text.strip()

    def check_permission(self) -> None:
        """Raise BindError where this process cannot bind anything."""
        if self.root:
            return
        if os.geteuid() != 0:
            raise BindError("binding drivers needs root: put sudo before it", NOT_PERMITTED)
        if not os.access("/sys/bus/pci/drivers_probe", os.W_OK):
            missing = not os.path.exists("/sys/bus/pci")
            why = "this machine has no PCI bus" if missing else "/sys is read-only here; run it on the host"
            raise BindError(f"/sys/bus/pci/drivers_probe: {why}", NOT_PERMITTED)

    def node(self, path: str) -> tuple[str, str, str] | None:
        """Return a device file's mode as ls shows it, its owner and its group, or None."""
        try:
            found = os.stat(self.root + path)
        except OSError:
            return None
        import grp  # noqa: PLC0415 - rarely needed
        import pwd  # noqa: PLC0415

        try:
            owner = pwd.getpwuid(found.st_uid).pw_name
        except KeyError:
            owner = str(found.st_uid)
        try:
            group = grp.getgrgid(found.st_gid).gr_name
        except KeyError:
            group = str(found.st_gid)
        return stat.filemode(found.st_mode), owner, group

    def ipv4(self, interface: str) -> str:
        """Return an interface's first IPv4 address, or ""; no file tells it."""
        if self.root:
            return ""
        import fcntl  # noqa: PLC0415 - rarely needed
        import socket  # noqa: PLC0415

        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as handle:
            try:  # SIOCGIFADDR, netdevice(7): a name of 16 bytes, then a sockaddr_in
                answer = fcntl.ioctl(handle, 0x8915, interface.encode().ljust(40, b"\0"))
            except OSError:
                return ""
        return ".".join(str(byte) for byte in answer[20:24])

    def users(self, path: str) -> list[str]:
        """Return the processes that have a file open, as "name (pid N)"."""
        found = []
        for pid in self.names("/proc"):
            if not pid.isdigit():
                continue
            for handle in self.names(f"/proc/{pid}/fd"):
                try:
                    target = os.readlink(f"{self.root}/proc/{pid}/fd/{handle}")
                except OSError:
                    continue
                if target == path:
                    found.append(f"{self.read(f'/proc/{pid}/comm')} (pid {pid})")
                    break
        return found
