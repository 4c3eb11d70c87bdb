"""What a front-end negotiated, remembered in a file per port, so that a restarted switch offers it again.

A guest cannot renegotiate while it runs: when QEMU connects again and the switch offers less than before, QEMU gives
up. So a peer that comes back is offered what it had, whatever the configuration says meanwhile. "The same peer" is
the same process (pid and the time it started): one that was started anew gets what is configured. A file whose
process is gone says nothing to anybody: it goes with its port, or when the switch starts.

A memory that cannot be read or written costs one line in the log and nothing else. Thread: the control thread.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import socket
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from vswitchd.ports.vhostuser.features import MAX_PAIRS, Offer

log = logging.getLogger(__name__)

DIRECTORY = ".vhost-peers"
"""In the run directory: as long-lived as the processes that it tells of."""
_FORMAT = 1
_LONGEST = 4096
_NAME_MAX = 200
_swept: set[Path] = set()


@dataclass(frozen=True, slots=True)
class Peer:
    """A process, for as long as the machine runs."""

    pid: int
    start: int
    """Clock ticks from boot to its start: pids come again, not with this."""


@dataclass(frozen=True, slots=True)
class Memo:
    """What one front-end was offered and took."""

    peer: Peer
    offered: Offer
    negotiated: Offer


def find_peer(sock: socket.socket) -> Peer | None:
    """Return who is at the other end (in client mode: who listened); None when it cannot be told."""
    try:
        text = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    except OSError:
        return None
    pid = struct.unpack("3i", text)[0]
    start = _start_of(pid)
    return None if start is None else Peer(pid, start)


def alive(peer: Peer) -> bool:
    """Say whether this process still runs."""
    return _start_of(peer.pid) == peer.start


def _start_of(pid: int) -> int | None:
    """Return field starttime of /proc/PID/stat (proc(5)), None when there is no such process to be seen."""
    if pid <= 0:  # it lives in a pid namespace that we do not see
        return None
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
        return int(text[text.rindex(")") + 1 :].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def encode(memo: Memo) -> str:
    """Return the text of a memo."""
    words = {"offered": memo.offered, "negotiated": memo.negotiated}
    facts = {
        key: {"features": f"{w.virtio:#x}", "protocol": f"{w.protocol:#x}", "queue_pairs": w.pairs}
        for key, w in words.items()
    }
    peer = {"pid": memo.peer.pid, "start": memo.peer.start}
    return json.dumps({"format": _FORMAT, "peer": peer, **facts}, indent=1) + "\n"


def decode(text: str) -> Memo:
    """Return the memo of a text. Raises ValueError."""
    try:
        facts = json.loads(text)
        if facts["format"] != _FORMAT:
            raise ValueError(f"format {facts['format']!r}")
        peer = Peer(_number(facts["peer"]["pid"]), _number(facts["peer"]["start"]))
        return Memo(peer, _offer(facts["offered"]), _offer(facts["negotiated"]))
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"no memo: {error!r}") from None


def _number(value: Any, limit: int = 1 << 63) -> int:
    if type(value) is not int or not 0 < value < limit:
        raise ValueError(f"{value!r} is no number that fits")
    return value


def _offer(facts: Any) -> Offer:
    virtio, protocol = int(facts["features"], 16), int(facts["protocol"], 16)
    if not 0 <= virtio < 1 << 64 or not 0 <= protocol < 1 << 64:
        raise ValueError("a feature word has 64 bits")
    return Offer(virtio, protocol, _number(facts["queue_pairs"], MAX_PAIRS + 1))


class MemoFile:
    """The memory of one port."""

    def __init__(self, name: str, run_dir: Path) -> None:
        """Remember in `run_dir`. Nothing of this port is read or written yet."""
        if run_dir not in _swept:
            _swept.add(run_dir)
            sweep(run_dir)
        self._name = name
        self._dir = run_dir / DIRECTORY
        self._path = self._dir / f"{_file_name(name)}.json"
        self._memo: Memo | None = None
        self._written = self._failed = False

    def recall(self, peer: Peer | None) -> Memo | None:
        """Return what this peer had before, if it is the one that was here last."""
        if self._memo is None:
            self._memo = self._load()
        return self._memo if self._memo is not None and self._memo.peer == peer else None

    def _load(self) -> Memo | None:
        try:
            return decode(_read(self._path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            self._complain("read", error)
            return None

    def remember(self, memo: Memo) -> None:
        """Keep this from now on, also after the switch ended. What could not be written is tried again each time."""
        if memo == self._memo and self._written:
            return
        self._memo, self._written = memo, False
        fresh = self._path.with_suffix(".new")
        try:
            with contextlib.suppress(FileExistsError):
                self._dir.mkdir(mode=0o700)
            fresh.unlink(missing_ok=True)
            fd = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with open(fd, "w") as file:  # noqa: PTH123 - a descriptor
                file.write(encode(memo))
            fresh.replace(self._path)
            self._written, self._failed = True, False
        except OSError as error:
            self._complain("write", error)
            with contextlib.suppress(OSError):
                fresh.unlink(missing_ok=True)

    def _complain(self, verb: str, error: Exception) -> None:
        if not self._failed:
            self._failed = True
            text = error.strerror if isinstance(error, OSError) else error
            log.warning(
                "%s: cannot %s %s (%s); after a restart of the switch its guest may need one too",
                *(self._name, verb, self._path, text),
            )

    def close(self) -> None:
        """Remove the file, unless its process lives: that one may come back to a port of this name."""
        _remove_dead(self._path)
        with contextlib.suppress(OSError):
            self._dir.rmdir()  # when it is empty


def sweep(run_dir: Path) -> None:
    """Remove what is known of processes that are gone, of all ports: done once, when the switch starts."""
    for path in (run_dir / DIRECTORY).glob("*.json"):
        _remove_dead(path)


def _remove_dead(path: Path) -> None:
    with contextlib.suppress(OSError):
        try:
            peer = decode(_read(path)).peer
        except ValueError:
            path.unlink()
        else:
            if not alive(peer):
                path.unlink()


def _file_name(name: str) -> str:
    """Return the port's name as the name of a file; long ones are cut and told apart by a hash."""
    plain = quote(name, safe="")
    if len(plain) <= _NAME_MAX:
        return plain
    return f"{plain[:_NAME_MAX]}-{hashlib.sha256(name.encode()).hexdigest()}"[: _NAME_MAX + 33]


def _read(path: Path) -> str:
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)) as file:  # noqa: PTH123
        return file.read(_LONGEST)
