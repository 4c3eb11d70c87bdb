"""The seam on the real system: calls that need no VFIO stand for those that do."""

import ctypes
import errno
import fcntl
import os
import resource
import struct
import termios

import pytest

from vswitchd.ports.vfio.kernel import Holder
from vswitchd.ports.vfio.linux import LinuxKernel

NS_GET_USERNS = 0xB701
MB = 1 << 20


@pytest.fixture
def kernel():
    return LinuxKernel()


def test_files(kernel, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"  e1000e \n")
    fd = kernel.open(str(path))
    assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
    assert kernel.pread(fd, 6, 2) == b"e1000e"
    assert kernel.pwrite(fd, b"igb", 2) == 3
    assert kernel.text(str(path)) == "igb00e"
    kernel.close(fd)
    with pytest.raises(OSError, match="Bad file"):
        os.fstat(fd)
    with pytest.raises(FileNotFoundError):
        kernel.open(str(tmp_path / "none"))
    assert kernel.text(str(tmp_path / "none")) is None
    assert kernel.names(str(tmp_path)) == ["file"]
    assert kernel.names(str(tmp_path / "none")) == []
    (tmp_path / "driver").symlink_to("../../bus/pci/drivers/vfio-pci")
    assert kernel.link(str(tmp_path / "driver")) == "vfio-pci"
    assert kernel.link(str(path)) is None
    assert kernel.exists(str(path))
    assert not kernel.exists(str(tmp_path / "none"))


def test_call_that_fills_a_struct(kernel):
    reader, writer = os.pipe()
    os.write(writer, b"12345")
    for room in (4, 2048):  # fcntl copies small buffers and passes on large ones
        answer = bytearray(room)
        assert kernel.ioctl(reader, termios.FIONREAD, answer) == 0
        assert struct.unpack_from("i", answer)[0] == 5
    os.close(reader)
    os.close(writer)


def test_call_that_returns_a_descriptor(kernel):
    """GROUP_GET_DEVICE_FD takes a name and returns a descriptor; so does this one, whatever it is given."""
    namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
    fd = kernel.ioctl(namespace, NS_GET_USERNS, bytearray(b"0000:01:00.0\0"))
    assert fd > 2
    assert os.readlink(f"/proc/self/fd/{fd}").startswith("user:")
    os.close(fd)
    with pytest.raises(OSError) as caught:
        kernel.ioctl(namespace, 0x3B64)
    assert caught.value.errno == errno.ENOTTY
    os.close(namespace)


def test_mapping_has_an_address(kernel):
    fd = os.memfd_create("bar")
    os.ftruncate(fd, 3 * 4096)
    os.pwrite(fd, b"register", 4096)
    mapping = kernel.map(fd, 4096, 8192)
    assert ctypes.string_at(mapping.address, 8) == b"register"
    ctypes.memmove(mapping.address, b"REGISTER", 8)
    assert os.pread(fd, 8, 4096) == b"REGISTER"
    mapping.close()
    mapping.close()
    os.close(fd)


def test_eventfd_does_not_block(kernel):
    fd = kernel.eventfd()
    with pytest.raises(BlockingIOError):
        os.eventfd_read(fd)
    kernel.close(fd)


def test_holders_of_a_file(kernel, tmp_path):
    path = tmp_path / "group"
    path.touch()
    assert kernel.holders(str(path)) == []
    fd = kernel.open(str(path))
    (holder,) = kernel.holders(str(path))
    assert holder == Holder(kernel.pid(), kernel.text("/proc/self/comm"))
    kernel.close(fd)


def test_memlock(kernel, monkeypatch):
    status = "Name:\tx\nCapEff:\t{cap:016x}\nVmLck:\t      12 kB\n"
    monkeypatch.setattr(resource, "getrlimit", lambda which: (8 * MB, 8 * MB))
    monkeypatch.setattr(kernel, "text", lambda path: status.format(cap=0))
    limit = kernel.memlock()
    assert (limit.limit, limit.used) == (8 * MB, 12 << 10)
    monkeypatch.setattr(kernel, "text", lambda path: status.format(cap=1 << 14))
    assert kernel.memlock() is None  # CAP_IPC_LOCK
    monkeypatch.setattr(kernel, "text", lambda path: None)
    assert kernel.memlock().used == 0
    monkeypatch.setattr(resource, "getrlimit", lambda which: (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert kernel.memlock() is None


def test_memory_of_the_window(kernel):
    base = kernel.reserve(64 * MB, 4 << 30)
    try:
        assert base % (1 << 30) == 0
        with pytest.raises(OSError) as caught:
            kernel.reserve(64 * MB, 4 << 30)
        assert caught.value.errno == errno.EBUSY
        kernel.back(2 * MB, 2 * MB, 0)
        ctypes.memset(base + 2 * MB, 0xAA, 2 * MB)
        kernel.clear(base + 3 * MB, 4096)
        assert ctypes.string_at(base + 3 * MB - 1, 4098) == b"\xaa" + bytes(4096) + b"\xaa"
        kernel.unback(2 * MB, 2 * MB)
        kernel.back(2 * MB, 2 * MB, 0)
        assert ctypes.string_at(base + 2 * MB, 4096) == bytes(4096)
        with pytest.raises(OSError):
            kernel.back(63 * MB, 2 * MB, 0)
    finally:
        kernel.release()
    kernel.reserve(64 * MB, 4 << 30)
    kernel.release()
