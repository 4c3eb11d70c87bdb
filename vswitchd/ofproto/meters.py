"""The meter table (5.7, 6.5, 7.3.4.4): meters, their bands, their copy in the datapath.

The controller's meter (OFPM_CONTROLLER) limits packet-ins; it is added and modified as any other, but never
deleted (7.3.4.4). No flow entry uses it. There is no slow path to limit (OFPM_SLOWPATH). Thread: control.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from vswitchd.datapath import dp
from vswitchd.ofproto.constants import OFPM, OFPMBT, OFPMC
from vswitchd.ofproto.errors import OFPMMFC, OFError
from vswitchd.ofproto.structures import DropBand, DscpRemarkBand

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vswitchd.ofproto.flow_store import FlowStore
    from vswitchd.ofproto.messages import MeterMod
    from vswitchd.ofproto.structures import MeterBand

MAX_METERS = 65536
_TURN = 500
"""Meters that are deleted between two turns of others: about 2 ms."""
MAX_BANDS = 8
"""Of one meter."""


@dataclass(frozen=True, slots=True)
class Meter:
    """One meter; flags are OFPMF, created in seconds of the switch's clock."""

    meter_id: int
    flags: int
    bands: tuple[MeterBand, ...]
    created: float

    @property
    def remarks(self) -> bool:
        """Whether it may change packets: then the tables behind it have to look again."""
        return any(isinstance(band, DscpRemarkBand) for band in self.bands)


class MeterTable:
    """The meters of one bridge. `in` and iteration are by meter number."""

    def __init__(self, bridge: dp.DpBridge, clock: Callable[[], float]) -> None:
        self._meters: dict[int, Meter] = {}
        self._bridge = bridge
        self._clock = clock
        self.epoch = 0
        """Another number: `action()` of a meter may say something else."""

    def __contains__(self, meter: object) -> bool:
        return meter in self._meters

    def __iter__(self) -> Iterator[int]:
        return iter(sorted(self._meters))

    def __len__(self) -> int:
        return len(self._meters)

    def __getitem__(self, meter: int) -> Meter:
        return self._meters[meter]

    def action(self, meter: int) -> dp.Action:
        """Return the action of the flow entries that use this meter; OFError UNKNOWN_METER."""
        if meter not in self._meters or meter > OFPM.MAX:
            raise OFError(OFPMMFC.UNKNOWN_METER, f"meter {meter}")
        return dp.meter(meter, remarks=self._meters[meter].remarks)

    def apply(self, mod: MeterMod, flows: FlowStore) -> Iterator[bytes] | None:
        """Carry out a meter-mod, staged; OFError, and nothing changed, if refused.

        A delete takes its flows along; it is done by whoever runs through the iterator that it returns, as is what
        a modification means to flows.
        """
        if mod.command == OFPMC.DELETE:
            return self._delete(mod.meter_id, flows)
        if not 1 <= mod.meter_id <= OFPM.MAX and mod.meter_id != OFPM.CONTROLLER:
            raise OFError(OFPMMFC.INVALID_METER, f"meter {mod.meter_id:#x}")
        had = self._meters.get(mod.meter_id)
        if mod.command == OFPMC.ADD and had is not None:
            raise OFError(OFPMMFC.METER_EXISTS, f"meter {mod.meter_id}")
        if mod.command == OFPMC.MODIFY and had is None:
            raise OFError(OFPMMFC.UNKNOWN_METER, f"meter {mod.meter_id}")
        if had is None and len(self._meters) >= MAX_METERS:
            raise OFError(OFPMMFC.OUT_OF_METERS, f"at most {MAX_METERS} meters")
        if len(mod.bands) > MAX_BANDS:
            raise OFError(OFPMMFC.OUT_OF_BANDS, f"{len(mod.bands)} bands, at most {MAX_BANDS}")
        bands = [_compiled(band) for band in mod.bands]
        try:
            self._bridge.set_meter(mod.meter_id, mod.flags, bands)
        except dp.DatapathError as error:
            raise OFError(OFPMMFC.OUT_OF_METERS, str(error)) from None
        created = had.created if had is not None else self._clock()
        meter = self._meters[mod.meter_id] = Meter(mod.meter_id, mod.flags, mod.bands, created)
        if had is not None and had.remarks != meter.remarks:
            self.epoch += 1
            return flows.renew_meter_users(mod.meter_id)
        return None

    def flush(self) -> None:
        """Remove all meters; the flows that use them must be gone."""
        for number in sorted(self._meters, reverse=True):
            self._remove(number)

    def snapshot(self) -> dict[int, Meter]:
        """Return what `restore()` takes: the meters as they are now."""
        return dict(self._meters)

    def restore(self, meters: dict[int, Meter]) -> None:
        """Have these meters again (a transaction is taken back; the datapath forgets its own staged ones)."""
        self.epoch += 1
        self._meters = meters

    def _delete(self, meter: int, flows: FlowStore) -> Iterator[bytes] | None:
        if meter == OFPM.ALL:
            return self._delete_in_turns([number for number in self._meters if number <= OFPM.MAX], flows)
        if meter not in self._meters:
            return None  # no error (6.5)
        if meter == OFPM.CONTROLLER:
            raise OFError(
                OFPMMFC.INVALID_METER, "the controller's meter is never deleted; modify it to no bands"
            )
        return self._delete_in_turns([meter], flows)

    def _delete_in_turns(self, meters: list[int], flows: FlowStore) -> Iterator[bytes]:
        # The datapath's list is sorted, and its end is cheap.
        for done, number in enumerate(sorted(meters, reverse=True), 1):
            while flows.meter_users.get(number):  # others may add some meanwhile
                yield from flows.delete_meter_users(number)
            self._remove(number)
            if done % _TURN == 0:
                yield b""

    def _remove(self, number: int) -> None:
        if number in self._meters:
            self.epoch += 1
            del self._meters[number]
            self._bridge.remove_meter(number)


def _compiled(band: MeterBand) -> dp.BandSpec:
    if band.rate == 0:
        raise OFError(OFPMMFC.BAD_RATE, "a band needs a rate")
    if isinstance(band, DropBand):
        return dp.BandSpec(int(OFPMBT.DROP), band.rate, band.burst_size)
    if isinstance(band, DscpRemarkBand):
        if band.prec_level == 0:
            raise OFError(OFPMMFC.BAD_BAND_VALUE, "a remark band without a level remarks nothing")
        return dp.BandSpec(int(OFPMBT.DSCP_REMARK), band.rate, band.burst_size, band.prec_level)
    raise OFError(OFPMMFC.BAD_BAND, "bands of experimenters are not supported")
