"""A device without datapath for vhost-user sessions: it notes what the session asks of it, in order, and translates pages by hand."""

from __future__ import annotations

import os

from vswitchd.ports.vhostuser.errors import RequestError
from vswitchd.ports.vhostuser.memory import Iova, Miss

PAGE = 4096


class FakeDevice:
    """Keeps the contract of contract.py. `calls` are (name, argument); `known` the IOVAs of pages that translate.

    Handles are strings. A ring under ACCESS_PLATFORM starts when its three addresses are in `known`; those that are not become misses.
    """

    miss_fd = None

    def __init__(self):
        self.calls = []
        self.known = set()
        self.bases = {}
        self.refuse_insert = False
        self._missed = {}
        self._told = set()
        self._count = 0

    def log(self, name):
        """The arguments of all calls of that name."""
        return [argument for call, argument in self.calls if call == name]

    def names(self):
        return [name for name, _ in self.calls]

    def _handle(self, kind, argument=None):
        self._count += 1
        handle = f"{kind}{self._count}"
        self.calls.append((f"make {kind}", handle))
        return handle

    def check_eventfd(self, fd):
        pass

    def check_channel(self, fd):
        pass

    def map(self, region, fd):
        return self._handle("map")

    def unmap(self, mapping):
        self.calls.append(("unmap", mapping))

    def table(self, regions, maps):
        return self._handle("table")

    def free_table(self, table):
        self.calls.append(("free table", table))

    def address(self, mapping):
        return 0x1000_0000_0000 + int(mapping.removeprefix("map")) * 0x1_0000_0000

    def userfault(self):
        return os.eventfd(0)

    def watch(self, fault, mapping):
        self.calls.append(("watch", mapping))

    def unwatch(self, fault, mapping):
        self.calls.append(("unwatch", mapping))

    def map_log(self, area, fd):
        return self._handle("log")

    def free_log(self, dirty):
        self.calls.append(("free log", dirty))

    def make_inflight(self, queues, queue_size, features):
        fd = os.memfd_create("inflight")
        os.ftruncate(fd, 4096)
        return fd, 4096

    def map_inflight(self, area, fd, features):
        return self._handle("inflight")

    def free_inflight(self, record):
        self.calls.append(("free inflight", record))

    def start(self, index, spec, ring):
        if spec.iommu:
            pages = {at // PAGE * PAGE for at in (spec.addr.desc, spec.addr.avail, spec.addr.used)}
            for page in sorted(pages - self.known):
                self._missed[page] = 3
            if pages - self.known:
                self.calls.append(("start waits", index))
                return False
        self.calls.append(("start", (index, spec, ring)))
        return True

    def stop(self, indices):
        indices = list(indices)
        self.calls.append(("stop", indices))
        return {index: self.bases.get(index, 0) for index in indices}

    def set_call(self, index, ring):
        self.calls.append(("set call", (index, ring.call)))

    def grace(self):
        self.calls.append(("grace", None))

    def set_mtu(self, mtu):
        self.calls.append(("mtu", mtu))

    def send_rarp(self, mac):
        self.calls.append(("rarp", mac))

    def insert(self, entry, memory):
        if self.refuse_insert:
            raise RequestError("no room")
        self.calls.append(("insert", entry))
        self.known.update(range(entry.iova, entry.iova + entry.size, PAGE))
        self._missed = {page: perm for page, perm in self._missed.items() if page not in self.known}
        self._told -= self.known

    def invalidate(self, span):
        self.calls.append(("invalidate", span))
        self.known = {page for page in self.known if not span.first <= page <= span.last}

    def flush(self):
        self.calls.append(("flush", None))
        self.known.clear()
        self._missed.clear()
        self._told.clear()

    def take_misses(self):
        fresh = {page: perm for page, perm in self._missed.items() if page not in self._told}
        self._told.update(fresh)
        return [Miss(Iova(page), perm) for page, perm in fresh.items()]

    @property
    def pending_misses(self):
        return len(self._missed)

    def retry_misses(self):
        self._told.clear()
