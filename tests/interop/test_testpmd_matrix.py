"""Every ring layout and receive path of DPDK's virtio driver, with 1, 2 and 8 queues, our side listening and connecting.

The ten paths are those of DPDK's test plan "vhost/virtio loopback with multi-paths and port restart". In each case the same frames
go there and back after the first connection, after a restart of the guests' ports (one packet at a time, as that plan has
it), after our side has hung up and come back (where it connects), and after other guests have taken their place.
"""

import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from peers import need, pcap
from peers.pair import CAPTURES, Pair, Shape
from peers.wait import until
from testpmd_rig import REFUSED_PORT, Frames, Rig

pytestmark = pytest.mark.interop

# Fewer than the ring holds, so that nothing is lost however long a guest is kept from its processor.
SENT = 600
THERE = pcap.spread(SENT, ports=(1001, 1002, REFUSED_PORT))
FRAMES = Frames(THERE, pcap.spread(SENT, way=1), frozenset(range(2, SENT, 3)))


@dataclass(frozen=True, slots=True)
class Path:
    """One path: what is negotiated, and what the driver calls its receive function."""

    packed: bool
    mergeable: bool
    in_order: bool
    driver: str
    vectorized: bool = False

    @property
    def options(self) -> str:
        """Of net_virtio_user."""
        return (
            f"packed_vq={self.packed:d},mrg_rxbuf={self.mergeable:d},in_order={self.in_order:d},"
            f"vectorized={self.vectorized:d}"
        )

    @property
    def smallest_burst(self) -> int:
        """A vectorized receive function gives nothing to who asks for less than it does in one turn."""
        return 8 if self.vectorized else 1

    @property
    def features(self) -> dict[str, bool]:
        """Whether each is to be negotiated, by name."""
        asked = {"ring_packed": self.packed, "mrg_rxbuf": self.mergeable, "in_order": self.in_order}
        return {**asked, "version_1": True}


def vector_driver() -> str:
    """Name the receive function for vectorized packed rings: without AVX-512 the driver falls back to the plain one."""
    with open("/proc/cpuinfo") as file:
        flags = file.read()
    wide = all(f" {flag}" in flags for flag in ("avx512f", "avx512bw", "avx512vl"))
    return "packed ring vectorized" if wide else "packed ring standard"


PATHS = {
    "split-mergeable": Path(packed=False, mergeable=True, in_order=False, driver="mergeable buffer"),
    "split-non-mergeable": Path(packed=False, mergeable=False, in_order=False, driver="standard"),
    "split-inorder-mergeable": Path(packed=False, mergeable=True, in_order=True, driver="inorder"),
    "split-inorder-non-mergeable": Path(packed=False, mergeable=False, in_order=True, driver="inorder"),
    "split-vectorized": Path(
        packed=False, mergeable=False, in_order=False, driver="vectorized", vectorized=True
    ),
    "packed-mergeable": Path(
        packed=True, mergeable=True, in_order=False, driver="packed ring mergeable buffer"
    ),
    "packed-non-mergeable": Path(packed=True, mergeable=False, in_order=False, driver="packed ring standard"),
    "packed-inorder-mergeable": Path(
        packed=True, mergeable=True, in_order=True, driver="packed ring mergeable buffer"
    ),
    "packed-inorder-non-mergeable": Path(
        packed=True, mergeable=False, in_order=True, driver="packed ring standard"
    ),
    "packed-vectorized": Path(
        packed=True, mergeable=False, in_order=True, driver=vector_driver(), vectorized=True
    ),
}


@pytest.fixture(scope="module")
def rig() -> Iterator[Rig]:
    """One switch and one testpmd for all cases: starting them for each would cost minutes."""
    need.need_program("dpdk-testpmd", "setpriv", "stdbuf")
    place = pathlib.Path(tempfile.mkdtemp(prefix="vsi"))
    shared = Rig(place)
    try:
        shared.open()
        yield shared
    finally:
        shared.close()
        if os.environ.get("VS_KEEP"):
            print(f"matrix: kept {place}")
        else:
            shutil.rmtree(place, ignore_errors=True)


def check_negotiated(rig: Rig, pair: Pair, ports: tuple[str, str], path: Path) -> None:
    """Both sides run what the case is about, and not something that works just as well."""
    wanted = f"using {path.driver} Rx path on port"
    for guest in (0, 2):
        assert f"{wanted} {guest}" in pair.driver_log()
    metrics = rig.metrics()
    for port in ports:
        seen = {labels["feature"] for labels, _ in metrics["vs_vhost_feature_info"] if labels["port"] == port}
        assert {name: name in seen for name in path.features} == path.features


@pytest.mark.parametrize("listen", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("queues", [1, 2, 8])
@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
def test_path(rig: Rig, path: Path, queues: int, listen: bool) -> None:
    shape = Shape(path.options, queues)
    with rig.guests(FRAMES, shape, listen=listen) as pair:
        rig.exchange(pair, FRAMES, shape, listen=listen)
        check_negotiated(rig, pair, rig.ports(listen=listen), path)

        pair.stop()
        pair.start()
        rig.exchange(pair, FRAMES, shape, listen=listen, burst=path.smallest_burst)

        if listen:
            rig.hang_up()
            until(lambda: not pair.testpmd.links_up(), "the guests notice that the switch has hung up")
            pair.stop(CAPTURES)
            pair.start()
            rig.come_back()
            rig.exchange(pair, FRAMES, shape, listen=listen)

        # The switch connects to the new guest by itself.
        pair.replace(1, meet=(lambda _guest: None) if listen else None)
        rig.exchange(pair, FRAMES, shape, listen=listen)
