"""The engine: runs the commands of one vsctl command line in one transaction and packs what they answer."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vswitchd.config import qos, show, verbs_bridge, verbs_control, verbs_table, wire
from vswitchd.config.context import Answer, Context
from vswitchd.config.types import Base, Kind, Type

if TYPE_CHECKING:
    from vswitchd.config.command import Command
    from vswitchd.config.store import Store
    from vswitchd.config.txn import Transaction

Handler = Callable[[Context], None]


def _nothing(_: Context) -> None:
    """Do nothing: `comment` is for whoever reads the command line, and an open store is initialised."""


HANDLERS: dict[str, Handler] = {
    "init": _nothing,
    "comment": _nothing,
    "show": show.show,
    "emer-reset": verbs_control.emer_reset,
    "add-br": verbs_bridge.add_br,
    "del-br": verbs_bridge.del_br,
    "list-br": verbs_bridge.list_br,
    "br-exists": verbs_bridge.br_exists,
    "br-to-vlan": verbs_bridge.br_to_vlan,
    "br-to-parent": verbs_bridge.br_to_parent,
    "br-set-external-id": verbs_bridge.br_set_external_id,
    "br-get-external-id": verbs_bridge.br_get_external_id,
    "list-ports": verbs_bridge.list_ports,
    "add-port": verbs_bridge.add_port,
    "add-bond": verbs_bridge.no_bonds,
    "add-bond-iface": verbs_bridge.no_bonds,
    "del-bond-iface": verbs_bridge.no_bonds,
    "del-port": verbs_bridge.del_port,
    "port-to-br": verbs_bridge.port_to_br,
    "list-ifaces": verbs_bridge.list_ifaces,
    "iface-to-br": verbs_bridge.iface_to_br,
    "get-controller": verbs_control.get_controller,
    "del-controller": verbs_control.del_controller,
    "set-controller": verbs_control.set_controller,
    "get-fail-mode": verbs_control.get_fail_mode,
    "del-fail-mode": verbs_control.del_fail_mode,
    "set-fail-mode": verbs_control.set_fail_mode,
    "get-manager": verbs_control.get_manager,
    "del-manager": verbs_control.del_manager,
    "set-manager": verbs_control.set_manager,
    "get-ssl": verbs_control.get_ssl,
    "del-ssl": verbs_control.del_ssl,
    "set-ssl": verbs_control.set_ssl,
    "list": verbs_table.do_list,
    "find": verbs_table.do_find,
    "get": verbs_table.do_get,
    "set": verbs_table.do_set,
    "add": verbs_table.do_add,
    "remove": verbs_table.do_remove,
    "clear": verbs_table.do_clear,
    "create": verbs_table.do_create,
    "destroy": verbs_table.do_destroy,
    "wait-until": verbs_table.do_wait_until,
}

_UUID_TYPE = Type(Base(Kind.UUID))


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a command line answered, and what it changed.

    `answers` are packed for the wire, one a command; `new_interfaces` are those that may tell of an error: new ones, and
    those whose QoS changed; `next_cfg` is the number to wait for, None if nothing changed.
    """

    answers: list[dict[str, Any]]
    warnings: list[str]
    new_interfaces: list[str]
    next_cfg: int | None


def run(store: Store, commands: list[Command], *, dry_run: bool = False, bump: bool = True) -> Outcome:
    """Run the commands in one transaction. Raises ConfigError (NotYet: try again later), StoreError."""
    before = store.snapshot()

    def change(txn: Transaction) -> Outcome:
        ctx = Context(txn)
        answers = []
        for command in commands:
            ctx.command = command
            ctx.answer = Answer()
            HANDLERS[command.name](ctx)
            answers.append(_pack(ctx.answer))
        ctx.check_symbols()
        return Outcome(answers, ctx.warnings, ctx.new_interfaces, None)

    outcome = store.transact(change, dry_run=dry_run, bump=bump)
    changed = store.next_cfg if store.next_cfg != before.next_cfg else None
    touched = [] if changed is None else qos.touched_interfaces(before, store.snapshot())
    told = [*outcome.new_interfaces, *(uuid for uuid in touched if uuid not in outcome.new_interfaces)]
    return Outcome(outcome.answers, outcome.warnings, told, changed)


def _pack(answer: Answer) -> dict[str, Any]:
    if answer.columns is None:
        return {"text": answer.text, "data": answer.data}
    columns = [("_uuid", _UUID_TYPE) if c is None else (c.name, c.type) for c in answer.columns]
    rows = [[(row.uuid,) if n == "_uuid" else row.data[n] for n, _ in columns] for row in answer.rows]
    return {"columns": [[name, *wire.pack_type(kind)] for name, kind in columns], "rows": rows}
