"""NICs without hardware: the device models of tests/devices, the DMA window, and a driver's port on top of them."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from cffi import FFI

from vswitchd.datapath.dp import ffi, lib

DEVICES = Path(__file__).resolve().parents[1] / "devices"
PACKAGE = Path(__file__).resolve().parents[2] / "vswitchd"
INCLUDES = [PACKAGE / "datapath", PACKAGE / "ports/vfio"]
KINDS = ("igb", "e1000e", "virtio_net", "vmxnet3", "ixgbe")

IOVA = 0x1_2345_0000_0000 & ~0xFFF
WINDOW = 1 << 30
CHUNK = 2 << 20
BUFFERS, BIG, RINGS = 24 * CHUNK, 2 * CHUNK, 6 * CHUNK
STRIDE = 70000

CSUM_GOOD, CSUM_BAD, ERROR, PARTIAL = 1, 2, 4, 8
ANY_QUEUE = 0xFFFFFFFF

_models = FFI()
_models.cdef(
    """
    struct model;
    struct model_meta { uint32_t flags, queue; uint16_t csum_start, csum_offset, gso_type, gso_size; };
    struct model *model_new(const char *kind, uint32_t flags);
    void model_free(struct model *);
    void model_env(struct model *, void *env);
    int model_map(struct model *, uint64_t iova, void *at, uint64_t length);
    int model_receive(struct model *, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
    int model_take(struct model *, uint8_t *to, uint32_t max, uint32_t *queue);
    void model_run(struct model *);
    void model_corrupt(struct model *, uint64_t seed);
    void model_link(struct model *, int up);
    void model_set_vector(struct model *, unsigned vector, int fd);
    uint64_t model_faults(const struct model *);
    uint64_t model_irqs(const struct model *, unsigned vector);
    void model_cut_bar(struct model *, unsigned bar, uint64_t size);
    void model_gone(struct model *, int gone);
    void model_thread(struct model *, int mode);
    """
)


@cache
def library_path() -> Path:
    """Compile the models, once per content: the other worker waits, so that the file is never replaced under a user."""
    sources = sorted(DEVICES.glob("*.c"))
    digest = hashlib.sha256()
    for path in [*sources, *sorted(DEVICES.glob("*.h")), *sorted(PACKAGE.glob("ports/vfio/*.h"))]:
        digest.update(path.read_bytes())
    flags = [
        "-std=gnu11",
        "-O2",
        "-g",
        "-D_GNU_SOURCE",
        "-fPIC",
        "-shared",
        "-fvisibility=hidden",
        "-pthread",
    ]
    flags += ["-Wall", "-Wextra", "-Werror", "-Wno-unused-parameter", *(f"-I{folder}" for folder in INCLUDES)]
    if "VS_ASAN" in os.environ:
        flags += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    digest.update(repr(flags).encode())
    target = Path(tempfile.gettempdir()) / f"vs-devices-{os.getuid()}-{digest.hexdigest()[:16]}.so"
    with target.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _compile(flags, sources, target)
    return target


def _compile(flags: list[str], sources: list[Path], target: Path) -> None:
    part = target.with_suffix(f".{os.getpid()}")
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    command = [*shlex.split(os.environ.get("CC", "cc")), *flags, *sources, "-o", part]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=plain)
    assert done.returncode == 0, done.stderr
    part.replace(target)


@cache
def library() -> Any:
    """Load the models."""
    return _models.dlopen(str(library_path()))


@contextmanager
def dma_window() -> Iterator[None]:
    """The window of the process, in ordinary pages: buffers, big buffers, then room for rings."""
    assert lib.vs_dma_reserve(WINDOW) == 0
    try:
        assert lib.vs_dma_back(0, BUFFERS + BIG + RINGS, 0) == 0
        lib.vs_dma_set_iova(IOVA)
        assert lib.vs_dma_add_buffers(0, BUFFERS, 0) > 0
        assert lib.vs_dma_add_buffers(BUFFERS, BIG, 1) > 0
        yield
        for big in (0, 1):
            assert lib.vs_dma_n_free_buffers(big) == lib.vs_dma_n_buffers(big), (
                "a buffer was lost or freed twice"
            )
    finally:
        lib.vs_dma_release()


class Refused(Exception):
    """The driver said no; the text is vs_nic_error's."""


class Nic:
    """A device model and our port on it. Use inside `dma_window()`; `slot` keeps the rings of several apart."""

    def __init__(self, kind: str, flags: int = 0, *, slot: int = 0, probe: bool = True) -> None:
        self.kind, self._slot = kind, slot
        self.models = library()
        self.model = self.models.model_new(kind.encode(), flags)
        assert self.model != _models.NULL, kind
        if lib.vs_dma_base() != ffi.NULL:
            self.map(IOVA, BUFFERS + BIG + RINGS)
        self.env = ffi.new("struct vs_nic_env *")
        self.info = ffi.new("struct vs_nic_info *")
        self.counters = ffi.new("struct vs_port_counters *")
        self.handle: Any = ffi.NULL
        self.fds: list[int] = []
        self._spent: list[int] = []
        self._frames = ffi.new("uint8_t[]", 32 * STRIDE)
        self._lens = ffi.new("uint32_t[32]")
        self._taken = _models.new("uint8_t[]", STRIDE)
        if probe:
            self.probe()

    def probe(self) -> None:
        """Make the port and read what the device is. Raises Refused."""
        self.fill(self.env)
        self.handle = lib.vs_nic_new(b"nic")
        assert lib.vs_nic_attach(self.handle, self.kind.encode(), self.env) == 0
        if lib.vs_nic_probe(self.handle, self.info) < 0:
            raise Refused(self.error)

    def map(self, iova: int, length: int) -> None:
        """Let the device reach the window from its beginning."""
        base = _models.cast("void *", int(ffi.cast("uintptr_t", lib.vs_dma_base())))
        assert self.models.model_map(self.model, iova, base, length) == 0

    def fill(self, env: Any) -> Any:
        """Fill what a driver is told of its device."""
        self.models.model_env(self.model, _models.cast("void *", int(ffi.cast("uintptr_t", env))))
        return env

    @property
    def error(self) -> str:
        """What the driver said last."""
        text: str = ffi.string(lib.vs_nic_error(self.handle)).decode()
        return text

    def config(self, **changed: Any) -> Any:
        """A configuration: one queue each way, 256 descriptors, MTU 1500, promiscuous."""
        config = ffi.new("struct vs_nic_config *")
        config.n_rxq = config.n_txq = 1
        config.rx_desc = config.tx_desc = 256
        config.mtu, config.rx_mode = 1500, lib.VS_NIC_RX_PROMISC
        for name, value in changed.items():
            setattr(config, name, value)
        return config

    def start(self, **changed: Any) -> None:
        """Run with that configuration; `vectors=True`: with interrupts. Raises Refused."""
        vectors = changed.pop("vectors", False)
        config = self.config(**changed)
        if vectors:
            config.n_vectors = 1 if vectors == 1 and vectors is not True else config.n_rxq + 1
            self._spent += self.fds  # a core may still wait for them
            self.fds = [os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC) for _ in range(config.n_vectors)]
            for number, fd in enumerate(self.fds):
                self.models.model_set_vector(self.model, number, fd)
        size = RINGS // 2
        assert lib.vs_nic_ring_bytes(self.handle, config) <= size
        fds = ffi.new("int[]", self.fds or [-1])
        if lib.vs_nic_start(self.handle, config, BUFFERS + BIG + self._slot * size, fds, -1) < 0:
            raise Refused(self.error)
        self.link()

    def link(self) -> Any:
        """Read the link; the port follows."""
        link = ffi.new("struct vs_nic_link *")
        lib.vs_nic_link(self.handle, link)
        return link

    def stats(self) -> Any:
        """Read the hardware's counters."""
        stats = ffi.new("struct vs_nic_stats *")
        lib.vs_nic_read_stats(self.handle, stats)
        return stats

    def stop(self) -> None:
        """Stop the port."""
        lib.vs_nic_stop(self.handle)

    # --- the wire ---

    def receive(self, frame: bytes, flags: int = 0, queue: int = ANY_QUEUE, **fields: int) -> int:
        """A frame comes from the wire: 1 delivered, 0 missed, -1 not for us."""
        meta = _models.new("struct model_meta *", {"flags": flags, "queue": queue, **fields})
        result: int = self.models.model_receive(self.model, frame, len(frame), meta)
        return result

    def taken(self) -> list[tuple[int, bytes]]:
        """Let the engine run; (queue, frame) of all that were sent since."""
        self.models.model_run(self.model)
        frames, queue = [], _models.new("uint32_t *")
        while (n := self.models.model_take(self.model, self._taken, STRIDE, queue)) >= 0:
            frames.append((queue[0], bytes(_models.buffer(self._taken, n))))
        return frames

    def set_link(self, up: bool) -> None:
        """Pull the cable, or put it in."""
        self.models.model_link(self.model, up)

    def pull(self, gone: bool = True) -> None:
        """Pull the device out, or put it in again."""
        self.models.model_gone(self.model, gone)

    def corrupt(self, seed: int = 0) -> None:
        """One hostile act."""
        self.models.model_corrupt(self.model, seed)

    def thread(self, mode: int) -> None:
        """0: no engine thread; 1: it runs; 2: and is hostile."""
        self.models.model_thread(self.model, mode)

    @property
    def faults(self) -> int:
        """DMA outside of what is mapped."""
        count: int = self.models.model_faults(self.model)
        return count

    # --- the switch ---

    def rx(self, rxq: int = 0, n: int = 32) -> list[bytes]:
        """What a core receives in one turn."""
        got = lib.vs_port_test_rx(self.handle, rxq, n, self._frames, STRIDE, self._lens, self.counters)
        return [bytes(ffi.buffer(self._frames + i * STRIDE, self._lens[i])) for i in range(got)]

    def tx(self, *frames: bytes, core: int = 0, **offload: int) -> None:
        """Send at most 32 frames; offload: fields of struct vs_port_test_offload."""
        for i, frame in enumerate(frames):
            self._lens[i] = len(frame)
            ffi.memmove(self._frames + i * STRIDE, frame, len(frame))
        fields = ffi.new("struct vs_port_test_offload *", offload) if offload else ffi.NULL
        lib.vs_port_test_tx(
            self.handle, core, self._frames, STRIDE, self._lens, len(frames), fields, self.counters
        )

    def drops(self) -> dict[str, int]:
        """Drops by name, of both directions, that are not 0."""
        return {ffi.string(lib.vs_drop_label(i)).decode(): n for i, n in enumerate(self.counters.drops) if n}

    def close(self) -> None:
        """Stop and free."""
        self.thread(0)
        if self.handle != ffi.NULL:
            lib.vs_nic_stop(self.handle)
            lib.vs_port_destroy(self.handle)
            self.handle = ffi.NULL
        for fd in self.fds + self._spent:
            os.close(fd)
        self.fds, self._spent = [], []
        self.models.model_free(self.model)


def forward(source: Nic, target: Nic, rounds: int = 100) -> int:
    """From NIC to NIC as a core does it, until nothing comes; how many packets."""
    packets = ffi.new("uint64_t *")
    lib.vs_port_test_forward(
        source.handle, 0, target.handle, 0, rounds, packets, source.counters, target.counters
    )
    count: int = packets[0]
    return count
