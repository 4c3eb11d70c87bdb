"""Cases of test_sigbus.py: each runs in a process of its own, which may have to die. usage: sigbus_child.py CASE"""

import ctypes
import faulthandler
import mmap
import os
import re
import resource
import select
import signal
import subprocess
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from vswitchd.datapath.dp import ffi, lib

MB = 1 << 20
OWNER, OTHER = ffi.new("char *"), ffi.new("char *")
PAGE = mmap.PAGESIZE
libc = ctypes.CDLL(None, use_errno=True)
libc.memset.argtypes = (ctypes.c_void_p, ctypes.c_int, ctypes.c_size_t)  # runs without the interpreter's lock


class Memory:
    """A memory file of a front-end, mapped as the switch maps it."""

    def __init__(self, size=8 * MB, owner=OWNER, flags=0):
        self.fd = os.memfd_create("guest", flags)
        os.ftruncate(self.fd, size)
        self.size = size
        error = ffi.new("int *")
        self.map = lib.vs_guest_map_new(self.fd, 0, size, error)
        assert self.map != ffi.NULL, error[0]
        lib.vs_guest_map_own(self.map, owner)
        self.host = lib.vs_guest_map_host(self.map)
        self.address = int(ffi.cast("uintptr_t", self.host))
        self.bytes = ffi.buffer(self.host, size)

    def truncate(self, size=0):
        os.ftruncate(self.fd, size)

    def free(self):
        lib.vs_guest_map_free(self.map)
        os.close(self.fd)
        assert not mapped(self.address, self.size)


def mapped(address, size):
    """Lines of the mappings in this range."""
    found = ""
    for line in Path("/proc/self/maps").read_text().splitlines(keepends=True):
        start, end = (int(x, 16) for x in re.match(r"(\w+)-(\w+)", line).groups())
        if start < address + size and address < end:
            found += line
    return found


def count_mappings():
    return Path("/proc/self/maps").read_text().count("\n")


def notice():
    return bool(select.select([lib.vs_sigbus_install()], [], [], 0)[0])


def unguarded():
    """Memory that nobody guards and that is gone."""
    fd = os.memfd_create("plain")
    os.ftruncate(fd, PAGE)
    memory = mmap.mmap(fd, PAGE)
    os.ftruncate(fd, 0)
    return memory


def truncated():
    memory, other = Memory(), Memory(owner=OTHER)
    for m in (memory, other):
        m.bytes[0 : m.size] = b"x" * m.size
    memory.truncate(5 * MB + 100)
    assert memory.bytes[5 * MB + 99] == b"x"
    assert memory.bytes[5 * MB + PAGE - 1] == b"\0"  # the rest of the last page
    assert not notice()
    assert lib.vs_guarded_faults(OWNER) == 0
    assert memory.bytes[7 * MB : 8 * MB] == bytes(MB)
    assert notice()
    os.eventfd_read(lib.vs_sigbus_install())
    assert memory.bytes[4 * MB - 1] == b"x", "what lies far from the fault is as it was"
    assert memory.bytes[6 * MB - 1] == b"\0"
    assert notice(), "another piece of the same mapping"
    memory.bytes[5 * MB : 8 * MB] = b"y" * 3 * MB
    assert memory.bytes[5 * MB : 8 * MB] == b"y" * 3 * MB
    assert lib.vs_guarded_faults(OTHER) == 0
    assert lib.vs_guarded_faults(OWNER) == 1
    assert lib.vs_guarded_faults(OWNER) == 0, "told once"
    assert other.bytes[0 : other.size] == b"x" * other.size
    memory.free()
    other.truncate(PAGE)
    other.bytes[other.size - 1] = b"z"
    again = Memory()  # the record of the first mapping is used again
    assert again.bytes[0] == b"\0"
    assert lib.vs_guarded_faults(OWNER) == 0
    assert lib.vs_guarded_faults(OTHER) == 1
    again.free()
    other.free()


def huge_pages():
    try:
        memory = Memory(8 * MB, flags=os.MFD_HUGETLB)
    except OSError as error:
        sys.exit(f"skip: no huge pages: {error.strerror}")
    try:
        memory.bytes[4 * MB] = b"x"
        memory.truncate(2 * MB)
        assert memory.bytes[3 * MB :] == bytes(5 * MB)
        memory.bytes[0 : 8 * MB] = b"y" * 8 * MB
        assert lib.vs_guarded_faults(OWNER) == 1
    finally:
        memory.truncate()
    memory.free()


def threads_at_once():
    for _ in range(20):
        memory = Memory(16 * MB)
        memory.truncate()
        start = threading.Barrier(4)

        def touch(memory=memory, start=start):
            start.wait()
            libc.memset(memory.address, 1, memory.size)

        threads = [threading.Thread(target=touch) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert lib.vs_guarded_faults(OWNER) == 1
        memory.free()


def registry_changes():
    """Other mappings come and go while a thread faults."""
    memory = Memory(1 << 30)
    memory.truncate()
    stop = threading.Event()

    def touch():
        for at in range(0, memory.size, 2 * MB):
            libc.memset(memory.address + at, 1, 1)
        stop.set()

    thread = threading.Thread(target=touch)
    thread.start()
    held = []
    while not stop.is_set():
        held.append(Memory((1 + len(held) % 7) * MB))
        held[-1].bytes[0] = b"h"
        if len(held) == 8:
            for m in held:
                assert m.bytes[0] == b"h"
                m.free()
            held.clear()
    thread.join()
    assert lib.vs_guarded_faults(OWNER) == 1


def too_many_mappings():
    """More pieces than a process may have mappings: whole mappings are replaced, of this owner and of others."""
    pieces = lib.VS_GUARDED_PIECES
    before = count_mappings()
    for _ in range(2):
        memory, other = Memory(2 * pieces * 2 * MB + MB), Memory(owner=OTHER)
        memory.truncate()
        other.truncate()
        for i in range(pieces):
            libc.memset(memory.address + i * 4 * MB, 1, 1)
        assert count_mappings() > before + pieces
        assert other.bytes[0] == b"\0"
        assert "memfd:guest" not in mapped(other.address, other.size), "the whole"
        assert memory.bytes[memory.size - 1] == b"\0"
        assert count_mappings() < before + 10, "the whole"
        assert lib.vs_guarded_faults(OWNER) == lib.vs_guarded_faults(OTHER) == 1
        memory.free()
        other.free()


def keeps_errno():
    memory = Memory()
    memory.truncate()
    os.eventfd_write(lib.vs_sigbus_install(), 2**64 - 2)  # full: the handler's write fails
    ctypes.set_errno(77)
    libc.memset(memory.address, 1, memory.size)
    assert ctypes.get_errno() == 77
    assert lib.vs_guarded_faults(OWNER) == 1


def contained():
    """With faulthandler as the environment and the cases below leave it."""
    memory = Memory()
    memory.truncate()
    for at in (0, memory.size - 1):
        assert memory.bytes[at] == b"\0"
    assert lib.vs_guarded_faults(OWNER) == 1


def faulthandler_first():
    faulthandler.enable()
    contained()


def faulthandler_last():
    memory = Memory()
    faulthandler.enable()
    memory.truncate()
    assert memory.bytes[0] == b"\0"
    assert lib.vs_guarded_faults(OWNER) == 1
    contained()


def faulthandler_between():
    faulthandler.enable()
    held = Memory()
    faulthandler.disable()
    faulthandler.enable()  # took the signal; the next mapping takes it back
    contained()
    held.free()


# ---- these have to die ----


def elsewhere():
    held = Memory()
    unguarded()[0]
    held.free()


def elsewhere_after_faulthandler():
    held = Memory()
    faulthandler.enable()
    unguarded()[0]
    held.free()


def elsewhere_with_a_ring_of_handlers():
    """Faulthandler's previous handler is ours, and ours is faulthandler's."""
    held = Memory()
    faulthandler.enable()
    again = Memory()
    unguarded()[0]
    held.free()
    again.free()


def no_longer_guarded():
    fd = os.memfd_create("plain")
    os.ftruncate(fd, PAGE)
    memory = mmap.mmap(fd, PAGE)
    error = ffi.new("int *")
    guard = lib.vs_guarded_add(ffi.from_buffer(memory), PAGE, PAGE, OWNER, error)
    assert guard != ffi.NULL
    lib.vs_guarded_remove(guard)
    os.ftruncate(fd, 0)
    memory[0]


def next_to_it():
    """One byte behind the mapping is not in it."""
    fd = os.memfd_create("plain")
    os.ftruncate(fd, 2 * PAGE)
    memory = mmap.mmap(fd, 2 * PAGE)
    error = ffi.new("int *")
    assert lib.vs_guarded_add(ffi.from_buffer(memory), PAGE, PAGE, OWNER, error) != ffi.NULL
    os.ftruncate(fd, 0)
    assert memory[PAGE - 1] == 0
    print("guarded")
    memory[PAGE]


def sent_by_another():
    held = Memory()
    subprocess.run(["kill", "-BUS", str(os.getpid())], env={"PATH": os.environ["PATH"]}, check=True)
    signal.sigtimedwait([], 10)  # until it arrives
    held.free()


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    globals()[sys.argv[1]]()
    print("done")
