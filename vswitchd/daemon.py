"""The daemon: opens the store, starts the datapath, keeps both equal, and takes everything down again.

    lock -> log -> store -> datapath -> first reconciliation -> control socket -> metrics -> run -> backwards

Everything but the polling cores is on one thread, in one asyncio loop. A kill -9 at any moment costs nothing
that was acknowledged: the store is durable, sockets and the lock of a dead daemon are taken over at the next
start.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import logging
import os
import platform
import signal
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING

from vswitchd import appctl_main, cores, descriptors, metrics
from vswitchd.bridge_ofports import OfPortFile
from vswitchd.bridge_openflow import BridgeOpenFlow
from vswitchd.config.service import ConfigService
from vswitchd.config.store import Store
from vswitchd.datapath.dp import DEFAULT_EMC_ENTRIES, Datapath
from vswitchd.errors import ConfigError, PathError, VsError
from vswitchd.log import LEVELS, Log
from vswitchd.metrics_http import DEFAULT_ADDRESS, MetricsServer, parse_address
from vswitchd.paths import check_socket_path, make_directory
from vswitchd.ports import base, kernel, vfio, vhostuser
from vswitchd.ports.kernel import links
from vswitchd.reconcile import Reconciler
from vswitchd.reconcile_cores import CorePolicy
from vswitchd.rpc import RpcServer

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterator

    from vswitchd.bridge import LiveBridge
    from vswitchd.bridge_openflow import OpenFlowSide
    from vswitchd.config.rows import Snapshot
    from vswitchd.paths import Paths
    from vswitchd.ports.kernel import rtnl

HOUSEKEEPING = 0.1
STATISTICS = 1.0
MAX_PUNTS = 256
PORT_TYPES = (kernel, vfio, vhostuser)  # importing them registered what they make
STORE_TIMEOUT = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """The daemon's command line."""

    paths: Paths
    version: str
    metrics: str | None = None
    """Address that was asked for on the command line: failing to listen there ends the daemon."""
    pid_file: str | None = None
    log_level: str | None = None
    log_file: str | None = None
    syslog: bool = False
    cache_entries: int = DEFAULT_EMC_ENTRIES


@contextlib.contextmanager
def single(state: str) -> Iterator[None]:
    """Hold the lock of a state directory. Raises PathError when another daemon holds it.

    The kernel drops the lock when its holder dies, however it dies.
    """
    path = Path(state) / "lock"
    try:
        file = path.open("a+")
    except OSError as error:
        text = f"{path}: cannot be written ({error.strerror}); name another directory with --state"
        raise PathError(text) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        with file:
            raise PathError(f"{state}: another vswitchd{_owner(file)} runs on this state directory") from None
    try:
        # The number is for whoever comes second; without it, on a full disk, the lock holds as well.
        with contextlib.suppress(OSError):
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), f"{os.getpid()}\n".encode())
        yield
    finally:
        file.close()


def _owner(file: IO[str]) -> str:
    file.seek(0)
    text = file.read(16).strip()
    return f" (pid {text})" if text.isdigit() else ""


class Daemon:
    """One running switch. Make it, then `await run()`; `stop()` ends it."""

    def __init__(self, options: Options) -> None:
        self.options = options
        self.paths = options.paths
        self.version = options.version
        self.started = time.time()
        self.cpus = cores.allowed_cpus()
        """Those that the process may use, as it was started; the control thread keeps to some of them later."""
        self.log = Log()
        self.store: Store
        self.datapath: Datapath
        self.reconciler: Reconciler
        self.metrics: MetricsServer
        self._stop = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._metrics_text = ""

    def stop(self, why: str) -> None:
        """End the daemon: run() takes everything down and returns."""
        if not self._stop.is_set():
            _log.info("stopping: %s", why)
            self._stop.set()

    def ready(self) -> bool:
        """Whether the stored configuration runs."""
        return self.reconciler.applied_once and not self._stop.is_set()

    async def run(self, started: Callable[[Daemon], None] | None = None) -> None:
        """Run until stop(). `started` is called once everything is up. Raises VsError if that cannot be."""
        for directory in (self.paths.run, self.paths.state, self.paths.log):
            make_directory(directory)
        check_socket_path(self.paths.db_sock)
        with single(self.paths.state):
            async with contextlib.AsyncExitStack() as stack:
                await self._start(stack)
                if started is not None:
                    started(self)
                notify("READY=1")
                await self._stop.wait()
                notify("STOPPING=1")

    async def _start(self, stack: contextlib.AsyncExitStack) -> None:
        self._open_log()
        stack.callback(self.log.close)
        self._write_pid(stack)
        _log.info("vswitchd %s starts (pid %d, state %s)", self.version, os.getpid(), self.paths.state)
        soft, hard = descriptors.raise_limit()
        _log.info("up to %d open files (the limit was %d)", hard, soft)
        self.store = Store.open(self.paths.config_db, STORE_TIMEOUT)
        stack.callback(self.store.close)
        self.datapath = Datapath(self.options.cache_entries)
        stack.callback(self.datapath.close)
        self._make_reconciler()
        stack.callback(self.reconciler.close)
        server = RpcServer()
        self._register(server)
        self.reconciler.apply()
        stack.callback(self.store.on_commit(self._committed))
        await server.start(self.paths.db_sock)
        stack.push_async_callback(server.close)
        self.metrics = MetricsServer(metrics.registry(self), self.ready)
        await self._start_metrics()
        stack.push_async_callback(self.metrics.close)
        self._publish_root()
        self._signals()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.datapath.punt_fd, self._punts_ready)
        stack.callback(loop.remove_reader, self.datapath.punt_fd)
        self._watch_links(stack)
        for name, coroutine in (("housekeeping", self._housekeeping()), ("statistics", self._statistics())):
            self._spawn(coroutine, name)
        stack.push_async_callback(self._end_tasks)

    def _open_log(self) -> None:
        level = self.options.log_level
        if level is not None and level not in LEVELS:
            raise ConfigError(f'--log-level "{level}" is none of {", ".join(LEVELS)}')
        self.log.add_console()
        self.log.add_file(self.options.log_file or self.paths.log_file)
        if self.options.syslog:
            self.log.add_syslog()
        if level is not None:
            self.log.set(f"any:console:{level}")

    def _write_pid(self, stack: contextlib.AsyncExitStack) -> None:
        path = Path(self.options.pid_file or self.paths.pid_file)
        try:
            path.write_text(f"{os.getpid()}\n")
        except OSError as error:
            text = f"{path}: cannot write the pid file ({error.strerror})"
            if self.options.pid_file is not None:
                raise PathError(text) from None
            _log.warning("%s", text)
        stack.callback(path.unlink, missing_ok=True)

    def _make_reconciler(self) -> None:
        env = base.PortEnv(
            loop=asyncio.get_running_loop(),
            run_dir=Path(self.paths.run),
            changed=lambda port: self.reconciler.port_changed(port),  # noqa: PLW0108 - made below
            cpus=len(self.cpus),
        )
        numbers = OfPortFile(Path(self.paths.state) / "ofports.json")
        self.reconciler = Reconciler(
            self.store,
            self.datapath,
            env,
            numbers,
            cores=CorePolicy(self.cpus, cores.bind),
            openflow=self._openflow,
        )

    def _openflow(self, bridge: LiveBridge) -> OpenFlowSide:
        software = f"vswitchd {self.version}"
        return BridgeOpenFlow(bridge, self.datapath, self.paths.run, time.monotonic, software)

    def _register(self, server: RpcServer) -> None:
        ConfigService(self.store).register(server)
        commands = appctl_main.table()
        server.register("appctl", lambda params: commands.rpc(self, params))

    def _committed(self, _snapshot: Snapshot) -> None:
        self.reconciler.schedule()
        if self._metrics_wanted() != self._metrics_text:
            self._spawn(self._restart_metrics(), "metrics")

    def _watch_links(self, stack: contextlib.AsyncExitStack) -> None:
        monitor = links.monitor(asyncio.get_running_loop())

        def watcher(where: links.Where, link: rtnl.Link) -> None:
            if where is None:
                self.reconciler.interface_changed(link.name, link.index, gone=link.gone)

        try:
            monitor.watch(watcher)
        except OSError as error:
            _log.warning("no news of kernel interfaces: %s", error.strerror)
        else:
            stack.callback(monitor.unwatch, watcher)

    # --- the metrics page ---

    def _metrics_wanted(self) -> str:
        wanted = self.store.snapshot().root["other_config"].get("metrics-listen")
        return str(self.options.metrics or wanted or DEFAULT_ADDRESS)

    async def _start_metrics(self) -> None:
        self._metrics_text = self._metrics_wanted()
        asked = self.options.metrics is not None
        try:
            address = parse_address(self._metrics_text)
            if address is not None:
                await self.metrics.start(address)
                _log.info("metrics on http://%s/metrics", self.metrics.address)
        except VsError as error:
            if asked:
                raise
            # Not asked for on the command line: a page that is missing must not keep packets from flowing.
            _log.warning("%s", error)

    async def _restart_metrics(self) -> None:
        if self._metrics_wanted() == self._metrics_text:
            return
        await self.metrics.close()
        with contextlib.suppress(VsError):
            await self._start_metrics()
        self._publish_root()

    def _publish_root(self) -> None:
        facts = {"metrics_address": str(self.metrics.address or "none"), "pid": str(os.getpid())}
        values = {
            "ovs_version": self.version,
            "system_type": platform.system().lower(),
            "system_version": platform.release(),
            "datapath_types": ["netdev"],
            "iface_types": [name for name in base.types() if name],
            "statistics": facts,
        }
        self.store.set_status("Open_vSwitch", self.store.snapshot().root.uuid, values)

    # --- background ---

    def _spawn(self, coroutine: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.get_running_loop().create_task(coroutine, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("background task %s failed", task.get_name(), exc_info=error)

    async def _end_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _housekeeping(self) -> None:
        while True:
            again = self.datapath.housekeeping()
            self.reconciler.tick()
            await asyncio.sleep(HOUSEKEEPING / 10 if again else HOUSEKEEPING)

    def _punts_ready(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self.datapath.punt_fd, 8)
        self._take_punts()

    def _take_punts(self) -> None:
        punts = self.datapath.take_punts(MAX_PUNTS)
        for punt in punts:
            self.reconciler.punt(punt)
        if len(punts) == MAX_PUNTS:
            # Others on this thread get their turn before the rest is taken.
            asyncio.get_running_loop().call_soon(self._take_punts)

    async def _statistics(self) -> None:
        while True:
            await asyncio.sleep(STATISTICS)
            self.reconciler.publish()
            notify("WATCHDOG=1")

    def _signals(self) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(
            lambda _, context: _log.error("%s", context.get("message"), exc_info=context.get("exception"))
        )
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop, signal.strsignal(number) or str(number))
        loop.add_signal_handler(signal.SIGHUP, self.log.reopen)


def notify(state: str) -> None:
    """Tell systemd (sd_notify(3)) where it started us; nothing otherwise."""
    path = os.environ.get("NOTIFY_SOCKET", "")
    if not path:
        return
    address = "\0" + path[1:] if path.startswith("@") else path
    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)  # who does not read misses news; the switch does not wait
        sock.sendto(state.encode(), address)
