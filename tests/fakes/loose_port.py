"""A vhost-user port without socket and daemon: rings started by hand, driven through the test hooks of the extension."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

from fakes.mock_guest import MODERN, Guest, Ring
from vswitchd.datapath.dp import ffi, lib

STRIDE = 70000


class StartError(Exception):
    """The ring was refused; args[0] is -errno."""


@dataclass
class LoosePort:
    """One port; `start` maps the guest's memory on first use."""

    guest: Guest
    features: int = MODERN
    maps: list[Any] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.handle = lib.vs_vhost_new(b"loose")
        self.counters = ffi.new("struct vs_port_counters *")
        error = ffi.new("int *")
        rows = ffi.new("struct vs_guest_region[]", len(self.guest.regions))
        for row, region in zip(rows, self.guest.regions, strict=True):
            mapping = lib.vs_guest_map_new(region.fd, region.offset, region.size, error)
            assert mapping != ffi.NULL, error[0]
            self.maps.append(mapping)
            row.gpa, row.uva, row.size, row.host = (
                region.gpa,
                region.uva,
                region.size,
                lib.vs_guest_map_host(mapping),
            )
        self.mem = lib.vs_guest_mem_new(rows, len(rows), error)
        assert self.mem != ffi.NULL, error[0]
        self.frames = ffi.new("uint8_t[]", 32 * STRIDE)
        self.lens = ffi.new("uint32_t[32]")

    def start(
        self, index: int, ring: Ring, *, kick: int = -1, call: int = -1, err: int = -1, **changed: int
    ) -> None:
        config = ffi.new("struct vs_vring_config *")
        config.features, config.size = self.features | getattr(ring, "needs", 0), ring.size
        config.base = getattr(ring, "base", 0)
        config.desc, config.avail, config.used = (
            self.guest.uva(a) for a in (ring.desc, ring.avail, ring.used)
        )
        config.kick_fd, config.call_fd, config.err_fd = kick, call, err
        for name, value in changed.items():
            setattr(config, name, value)
        error = lib.vs_vhost_ring_start(self.handle, index, self.mem, config)
        if error:
            raise StartError(error)

    def stop(self, index: int) -> int:
        assert lib.vs_vhost_ring_unpublish(self.handle, index) == 1
        lib.vs_synchronize()
        return lib.vs_vhost_ring_reap(self.handle, index)

    def rx(self, rxq: int = 0, n: int = 32) -> list[bytes]:
        got = lib.vs_port_test_rx(self.handle, rxq, n, self.frames, STRIDE, self.lens, self.counters)
        return [bytes(ffi.buffer(self.frames + i * STRIDE, self.lens[i])) for i in range(got)]

    def tx(self, *frames: bytes, core: int = 0, **offload: int) -> None:
        """Send frames; offload: fields of struct vs_port_test_offload."""
        for i, frame in enumerate(frames):
            self.lens[i] = len(frame)
            ffi.memmove(self.frames + i * STRIDE, frame, len(frame))
        fields = ffi.new("struct vs_port_test_offload *", offload) if offload else ffi.NULL
        lib.vs_port_test_tx(
            self.handle, core, self.frames, STRIDE, self.lens, len(frames), fields, self.counters
        )

    def info(self, ring: int) -> Any:
        info = ffi.new("struct vs_vhost_ring_info *")
        lib.vs_vhost_ring_info(self.handle, ring, info)
        return info

    def refused(self, ring: int) -> dict[str, int]:
        stats = self.info(ring).stats
        labels = [ffi.string(lib.vs_chain_error_label(i)).decode() for i in range(lib.VS_N_CHAIN_ERRORS)]
        return {label: n for label, n in zip(labels, stats.refused, strict=True) if n}

    def drops(self) -> dict[str, int]:
        out = {}
        for i in range(lib.VS_N_DROPS):
            if self.counters.drops[i]:
                side = "rx" if i < lib.VS_N_RX_DROPS else "tx"
                out[f"{side}_{ffi.string(lib.vs_drop_label(i)).decode()}"] = self.counters.drops[i]
        return out

    def close(self) -> None:
        lib.vs_port_destroy(self.handle)
        lib.vs_guest_mem_free(self.mem)
        for mapping in self.maps:
            lib.vs_guest_map_free(mapping)
        self.guest.close()


def eventfd_count(fd: int) -> int:
    """Drain an eventfd made with EFD_NONBLOCK; 0 when it was not signalled."""
    try:
        return os.eventfd_read(fd)
    except BlockingIOError:
        return 0
