"""A daemon of store and RPC only, for tests: applies changes at once, fails interfaces of type "bogus"."""

import asyncio
import sys

from vswitchd import paths
from vswitchd.config.service import ConfigService
from vswitchd.config.store import Store
from vswitchd.rpc import RpcServer


def main() -> None:
    asyncio.run(serve(paths.find(sys.argv[1])))


async def serve(where: paths.Paths) -> None:
    store = Store.open(where.config_db)
    if "--stuck" not in sys.argv:
        store.on_commit(lambda snapshot: apply(store, snapshot))
    server = RpcServer()
    ConfigService(store).register(server)
    await server.start(where.db_sock)
    print("READY", flush=True)
    await asyncio.Event().wait()


def apply(store, snapshot) -> None:
    for number, row in enumerate(snapshot.rows("Interface"), 1):
        bad = row["type"] == "bogus"
        store.set_status(
            "Interface", row.uuid, {"ofport": -1 if bad else number, "error": "no such type" if bad else None}
        )
    store.set_applied(snapshot.next_cfg)


if __name__ == "__main__":
    main()
