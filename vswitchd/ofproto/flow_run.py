"""Runs of flow-mods of known kinds, carried out without decoding each: flow_run.c does that, flow entries are made here.

`learn()` is given each flow-mod that was carried out in the ordinary way; `take()` then carries out those that follow and
look like one, as many as stand at the beginning of the input, and leaves everything else to the ordinary way. What a kind rests on
(table features, groups, meters) is watched by a stamp; with another one all is forgotten. Thread: control.
"""

from __future__ import annotations

import contextlib
import struct
from typing import TYPE_CHECKING, Any

from vswitchd.datapath.action import RuleSpec
from vswitchd.datapath.action import pack as pack_actions
from vswitchd.datapath.bridge import fill_spec
from vswitchd.datapath.core import ffi, lib, no_memory
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPRR
from vswitchd.ofproto.errors import OFError
from vswitchd.ofproto.flow_program import Rewritten, apply_of, program_of
from vswitchd.ofproto.flow_table import FlowEntry
from vswitchd.ofproto.flow_template import Edit, Template, edits_of, has_kind, template_of

if TYPE_CHECKING:
    from vswitchd.ofproto.bundle_messages import Envelope
    from vswitchd.ofproto.compile import Program
    from vswitchd.ofproto.flow_store import FlowStore
    from vswitchd.ofproto.messages import FlowMod

MOST = 256
"""Messages of one run."""
_PROGRAMS = 4096
"""Programs that are known at a time, over all kinds."""
_LATELY = 256
_WINDOW = 1 << 16
"""Bytes that are unwrapped at a time: the longest message."""
_FLOW = struct.Struct(f"=QQIHHHHI{lib.VS_RUN_KEY}s")
assert _FLOW.size == ffi.sizeof("struct vs_run_flow")


class FlowRun:
    """The kinds that one bridge's flow-mods had lately."""

    def __init__(self, store: FlowStore, bridge: Any) -> None:
        """bridge: the `cdata` of a DpBridge, or NULL: then only deletions are taken."""
        run = lib.vs_flow_run_new(bridge)
        if run == ffi.NULL:
            raise no_memory("flow-mods")
        self._run = ffi.gc(run, lib.vs_flow_run_free)
        self._store = store
        self._kinds: list[Template] = []
        self._tables: set[int] = set()
        """Those that kinds add to."""
        self._programs: list[Program | None] = []
        self._edited: set[int] = set()
        """The numbers of those whose set-fields are each flow's own."""
        self._lately: dict[tuple[Program, bytes], Rewritten] = {}
        self._stamp = self._stamp_now()
        self._flows = ffi.new("struct vs_run_flow[]", MOST)
        self._used, self._copied = ffi.new("size_t *"), ffi.new("size_t *")
        self._room = ffi.new("uint8_t[]", _WINDOW)

    def take(self, data: bytearray, version: int = OFP_VERSION_13, most: int = MOST) -> int:
        """Carry out at most so many flow-mods at the beginning of `data`, staged; return how many bytes they were."""
        if self._stamp != self._stamp_now():
            self._forget()
        most = min(most, MOST, *map(self._store.room, self._tables))
        if not self._programs or most <= 0:
            return 0
        with ffi.from_buffer("uint8_t[]", data) as view:
            n = lib.vs_flow_run_take(self._run, version, view, len(data), self._flows, most, self._used)
        if n:
            self._enter(data, ffi.buffer(self._flows, n * _FLOW.size))
        return int(self._used[0])

    def unwrap(
        self, envelope: Envelope, data: bytearray, version: int, most: int = MOST
    ) -> tuple[int, int, bytes]:
        """Take flow-mods of known kinds in envelopes from the beginning of `data`: how many, how many bytes, and the flow-mods.

        Nothing is carried out; `take()` will do it, if the switch is still the same.
        """
        if self._stamp != self._stamp_now():
            self._forget()
        if not self._programs:
            return 0, 0, b""
        size, room = min(len(data), len(self._room)), self._room
        with ffi.from_buffer("uint8_t[]", data) as view:
            n = lib.vs_flow_run_unwrap(
                self._run, version, envelope.mask, envelope.head, len(envelope.head), view, size, room,
                min(most, MOST), self._used, self._copied,
            )  # fmt: skip
        return n, int(self._used[0]), bytes(ffi.buffer(room, self._copied[0]))

    def learn_ahead(self, data: bytes, mod: FlowMod, version: int) -> None:
        """Do so for one that is not carried out yet, if it could be now."""
        with contextlib.suppress(OFError):
            self._store.check_table(mod)
            self.learn(data, mod, version)

    def learn(self, data: bytes, mod: FlowMod, version: int) -> None:
        """Note the kind of a flow-mod that was carried out just now, if it has one, and its program."""
        if not has_kind(mod, version):
            return
        if self._stamp != self._stamp_now():
            self._forget()
        if len(self._programs) == _PROGRAMS or len(self._kinds) == lib.VS_RUN_TEMPLATES:
            self._forget()
        number = lib.vs_flow_run_kind(self._run, data, len(data))
        if number < 0:
            kind = template_of(data, mod, version)
            number = -1 if kind is None else self._add_kind(kind)
        if number >= 0:
            self._add_program(number, data[len(self._kinds[number].mask) :], mod, version)

    def _add_kind(self, kind: Template) -> int:
        """Return its number; negative where it does not fit."""
        if any(packed_end < size for _at, size, _shift, _key_end, packed_end in kind.slots):
            return -1
        slots = ffi.new("struct vs_run_slot[]", len(kind.slots))
        for to, (at, size, shift, key_end, packed_end) in zip(slots, kind.slots, strict=True):
            to.size, to.shift, to.key_end, to.packed_end = size, shift, key_end, packed_end
            setattr(to, "from", at)
        common = ffi.new("struct vs_run_common *", {"adds": kind.adds})
        ffi.buffer(ffi.addressof(common, "key"))[:] = kind.key
        ffi.buffer(ffi.addressof(common, "key_mask"))[:] = kind.key_mask
        if kind.packed.bit_length() > 8 * lib.VS_RUN_KEY:
            return -1
        common.packed = kind.packed.to_bytes(lib.VS_RUN_KEY, "big")
        for name in ("cookie", "idle_timeout", "hard_timeout", "priority"):
            setattr(common.at, name.partition("_")[0], kind.places.get(name, (0, 0))[0])
        number = int(
            lib.vs_flow_run_template(
                self._run, kind.mask, kind.head, len(kind.mask), slots, len(slots), common
            )
        )
        if number >= 0:
            self._kinds.append(kind)
            if kind.adds:
                self._tables.add(kind.table)
        return number

    def _add_program(self, number: int, tail: bytes, mod: FlowMod, version: int) -> None:
        kind, store, program, actions, mask = self._kinds[number], self._store, None, b"", tail
        edits: tuple[Edit, ...] = ()
        spec = ffi.new("struct vs_rule_spec *")
        if kind.adds:
            program = program_of(mod, store.pipeline, store.groups, store.meters)
            apply, write = apply_of(program, store.meters), program.write
            fill_spec(
                spec,
                RuleSpec(kind.table, 0, (), 0, apply, write, program.clear, program.metadata, program.goto),
            )
            actions = pack_actions(apply + write)
            if version == OFP_VERSION_13:
                mask, edits = edits_of(tail, mod.instructions, len(apply) - len(program.apply))
        fixed = bytes(a & b for a, b in zip(tail, mask, strict=True)) if edits else tail
        places = ffi.new("struct vs_run_edit[]", len(edits))
        for to, edit in zip(places, edits, strict=True):
            to.action, to.size, to.shift, to.end = edit.action, edit.size, edit.shift, edit.end
            setattr(to, "from", edit.at)
        done = lib.vs_flow_run_program(
            self._run, number, fixed, mask, len(tail), len(self._programs), spec,
            ffi.from_buffer("struct vs_action[]", actions), places, len(edits),
        )  # fmt: skip
        if done == 0:
            self._programs.append(program)
            if edits:
                self._edited.add(len(self._programs) - 1)

    def _enter(self, data: bytearray, flows: Any) -> None:
        """Make the entries of rules that are staged, and remove those that are to go; in their order."""
        store, programs, kinds = self._store, self._programs, self._kinds
        now = store.clock()
        for rule, cookie, number, kind_number, idle, hard, n_tail, tail, packed in _FLOW.iter_unpack(flows):
            kind = kinds[kind_number]
            key = int.from_bytes(packed, "big")
            program = programs[number]
            if program is None:
                for entry in store.tables.find_all(kind.table, kind.shape, key):
                    store.delete(entry, OFPRR.DELETE)
                continue
            sub = store.tables.subtable(kind.table, kind.shape)  # a deletion may have ended it
            own = (
                program
                if number not in self._edited
                else self._rewritten(program, data[tail : tail + n_tail])
            )
            entry = FlowEntry(kind.table, kind.shape, key, own, now)
            entry.rule, entry.cookie, entry.flags = rule, cookie, kind.flags
            entry.idle, entry.hard = idle, hard
            store.enter(sub, entry, reset=kind.reset)

    def _rewritten(self, base: Program, wire: bytearray) -> Rewritten:
        """Return the program that differs from `base` in what it sets; the same one for the same bytes, lately."""
        key = (base, bytes(wire))
        found = self._lately.get(key)
        if found is None:
            if len(self._lately) == _LATELY:
                self._lately.clear()
            found = self._lately[key] = Rewritten(*key)
        return found

    def _stamp_now(self) -> tuple[object, int, int]:
        store = self._store
        return store.pipeline, store.groups.epoch, store.meters.epoch

    def _forget(self) -> None:
        lib.vs_flow_run_clear(self._run)
        self._kinds.clear()
        self._tables.clear()
        self._programs.clear()
        self._edited.clear()
        self._lately.clear()
        self._stamp = self._stamp_now()
