"""Buffers for all NIC ports of the process: the pool grows with the ports, and goes with the last of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vswitchd.datapath.dp import lib
from vswitchd.ports.vfio.dma import HUGE_1G, HUGE_2M

if TYPE_CHECKING:
    from vswitchd.ports.vfio.dma import Chunk, DmaWindow
    from vswitchd.ports.vfio.kernel import Kernel

CHUNK: int = lib.VS_DMA_CHUNK
_BIG_CHUNKS = 2
"""Some 60 packets of 64 KB under way at once, of all ports; one more finds ring_full."""


class Pool:
    """Packet buffers in the DMA window. Control thread."""

    def __init__(self, window: DmaWindow, kernel: Kernel) -> None:
        self._window = window
        self._kernel = kernel
        self._needs: dict[str, int] = {}
        self._chunks: list[Chunk] = []

    def need(self, port: str, buffers: int) -> None:
        """See that there are as many buffers as all ports together may hold. Raises VfioError, and nothing has changed."""
        if not lib.vs_dma_n_buffers(1):
            self._add(_BIG_CHUNKS * CHUNK, big=True)
        wanted = sum(n for name, n in self._needs.items() if name != port) + buffers
        short = wanted - lib.vs_dma_n_buffers(0)
        if short > 0:
            each = CHUNK // lib.VS_DMA_STRIDE
            self._add(-(-short // each) * CHUNK, big=False)
        self._needs[port] = buffers

    def _add(self, length: int, *, big: bool) -> None:
        chunk = self._window.grow(length, self._page_shift(length))
        self._chunks.append(chunk)
        lib.vs_dma_add_buffers(chunk.offset, chunk.length, big)

    def _page_shift(self, length: int) -> int:
        """Return the kind of page to try: 1 GB only where it is all there is, for it takes the whole of one."""

        def free(kilobytes: int) -> int:
            path = f"/sys/kernel/mm/hugepages/hugepages-{kilobytes}kB/free_hugepages"
            return int(self._kernel.text(path) or 0)

        return HUGE_1G if free(2048) << HUGE_2M < length and free(1 << 20) else HUGE_2M

    def leave(self, port: str) -> None:
        """Forget a port, which has stopped. With the last one all memory is given back."""
        self._needs.pop(port, None)
        if self._needs:
            return
        for chunk in self._chunks:
            self._window.shrink(chunk.offset)
        self._chunks.clear()
        lib.vs_dma_forget_buffers()
