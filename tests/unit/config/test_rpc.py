"""The control socket: requests are answered, bad bytes end their connection only, bad paths are refused."""

import asyncio
import contextlib
import os
import socket
import stat

import msgpack
import pytest

from vswitchd import rpc
from vswitchd.errors import ConfigError, PathError, RpcError
from vswitchd.rpc import RpcServer, listen_unix
from vswitchd.rpc_client import MAX_MESSAGE, RpcClient


async def echo(params):
    return params


async def refuse(params):
    raise ConfigError("no", 2)


async def fail(params):
    raise KeyError("bug")


async def unpackable(params):
    return object()


async def huge(params):
    return b"x" * (MAX_MESSAGE + 1)


def request(number=1, method="echo", params=None):
    return msgpack.packb([0, number, method, [params or {}]])


def with_server(path, check):
    """Run `await check(server)` beside a server on `path`."""

    async def run():
        server = RpcServer()
        for name, handler in {
            "echo": echo,
            "refuse": refuse,
            "fail": fail,
            "obj": unpackable,
            "huge": huge,
        }.items():
            server.register(name, handler)
        await server.start(path)
        try:
            return await asyncio.wait_for(check(server), 30)
        finally:
            await server.close()

    return asyncio.run(run())


async def hang_up(*writers):
    for writer in writers:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def call(path, method, params=None):
    with RpcClient(path, timeout=10) as client:
        return client.call(method, params)


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "db.sock")


def test_calls_and_errors(path):
    async def check(server):
        assert await asyncio.to_thread(call, path, "echo", {"a": [1, "ü", None]}) == {"a": [1, "ü", None]}
        expected = {
            "refuse": ("no", 2),
            "fail": ("internal error in fail; the vswitchd log has the details", 1),
            "obj": ("internal error; the vswitchd log has the details", 1),
            "nosuch": ('unknown method "nosuch"', 1),
            "huge": ("the answer is too big", 1),
        }
        for method, (text, code) in expected.items():
            with pytest.raises(RpcError) as caught:
                await asyncio.to_thread(call, path, method)
            assert str(caught.value).startswith(text)
            assert caught.value.exit_code == code

    with_server(path, check)


def test_the_socket_is_private_and_removed_at_the_end(path):
    async def check(server):
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600

    with_server(path, check)
    assert not os.path.exists(path)


MALFORMED = {
    "a letter": b"GET / HTTP/1.0\r\n\r\n",
    "reserved byte": b"\xc1",
    "no list": msgpack.packb(5),
    "too short": msgpack.packb([0, 1, "echo"]),
    "too long": msgpack.packb([0, 1, "echo", [{}], 5]),
    "an answer": msgpack.packb([1, 1, None, [{}]]),
    "type is a bool": msgpack.packb([False, 1, "echo", [{}]]),
    "id is text": msgpack.packb([0, "1", "echo", [{}]]),
    "method is a number": msgpack.packb([0, 1, 7, [{}]]),
    "params no list": msgpack.packb([0, 1, "echo", {}]),
    "params empty": msgpack.packb([0, 1, "echo", []]),
    "params no map": msgpack.packb([0, 1, "echo", [5]]),
    "params keys no text": msgpack.packb([0, 1, "echo", [{b"a": 1}]]),
    "map key is a number": b"\x94\x00\x01\xa4echo\x91\x81\x05\x06",
    "map key is a list": b"\x94\x00\x01\xa4echo\x91\x81\x90\x06",
    "broken text": b"\x94\x00\x01\xa1\xff\x91\x80",
    "too deep": b"\x91" * 100_000,
    "announces 4 GB": b"\xdb\xff\xff\xff\xff",
    "announces 4 G elements": b"\xdd\xff\xff\xff\xff",
    "good, then bad": request() + b"\xc1",
    "flood of requests": request(params={"x": "y"}) * (rpc.MAX_IN_FLIGHT * 500),
}


_CASES = [(name, "whole") for name in MALFORMED]
_CASES += [(name, "bytewise") for name, data in MALFORMED.items() if len(data) < 2000]


@pytest.mark.parametrize(("name", "pieces"), _CASES)
def test_malformed_bytes_close_that_connection_only(path, name, pieces):
    data = MALFORMED[name]

    async def check(server):
        reader, writer = await asyncio.open_unix_connection(path)
        other_reader, other_writer = await asyncio.open_unix_connection(path)
        for piece in [data] if pieces == "whole" else [data[i : i + 1] for i in range(len(data))]:
            writer.write(piece)
            await asyncio.sleep(0)
        if name.startswith("announces"):
            writer.write_eof()
        # The connection ends; whether by EOF or reset depends on what was left unread.
        with contextlib.suppress(ConnectionError):
            while await reader.read(65536):
                pass
        other_writer.write(request(9))
        answer = await other_reader.read(100)
        assert msgpack.unpackb(answer) == [1, 9, None, {}]
        await hang_up(writer, other_writer)

    with_server(path, check)


def test_too_long_a_message_closes_its_connection(path):
    async def check(server):
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"\x94\x00\x01\xa4echo\x91\x81\xa1a\xc6" + (MAX_MESSAGE + 100).to_bytes(4, "big"))
        try:
            for _ in range(MAX_MESSAGE // 65536 + 3):
                writer.write(bytes(65536))
                await writer.drain()
            assert await reader.read(1) == b""
        except ConnectionError:
            pass
        assert await asyncio.to_thread(call, path, "echo") == {}
        await hang_up(writer)

    with_server(path, check)


def test_connections_are_bounded(path):
    async def check(server):
        ends = [await asyncio.open_unix_connection(path) for _ in range(rpc.MAX_CONNECTIONS)]
        for number, (reader, writer) in enumerate(ends):
            writer.write(request(number))
            assert msgpack.unpackb(await reader.read(100))[1] == number
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read(1) == b""
        await hang_up(writer)
        ends[0][1].write(request(7))
        assert msgpack.unpackb(await ends[0][0].read(100))[1] == 7
        await hang_up(*(end for _, end in ends))

    with_server(path, check)


def test_a_client_that_goes_away_cancels_its_handler(path):
    async def check(server):
        started, ended = asyncio.Event(), asyncio.Event()

        async def wait(params):
            started.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

        server.register("wait", wait)
        _, writer = await asyncio.open_unix_connection(path)
        writer.write(request(method="wait"))
        await started.wait()
        await hang_up(writer)
        await ended.wait()

    with_server(path, check)


def test_a_dead_socket_is_replaced_and_a_live_one_is_not(path):
    dead = listen_unix(path)
    with pytest.raises(PathError, match="is in use by another process"):
        listen_unix(path)
    dead.close()
    listen_unix(path).close()


def test_bad_paths_give_one_clear_error(tmp_path):
    (tmp_path / "file").write_text("x")
    for path, text in {
        str(tmp_path / "file"): "exists and is not a socket",
        str(tmp_path / ("x" * 120)): "socket path is too long",
        str(tmp_path / "file" / "sock"): "is not a directory",
        "": "must not be empty",
    }.items():
        with pytest.raises(PathError, match=text):
            listen_unix(path)
    assert (tmp_path / "file").read_text() == "x"


def test_a_method_has_one_handler():
    server = RpcServer()
    server.register("a", echo)
    with pytest.raises(ValueError, match="twice"):
        server.register("a", echo)


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (b"", "closed the connection"),
        (b"\xc1", "makes no sense"),
        (msgpack.packb([1, 99, None, 1]), "makes no sense"),
        (msgpack.packb([1, 1, "text", 1]), "makes no sense"),
        (None, "no answer in time"),
    ],
)
def test_the_client_survives_a_strange_server(path, answer, text):
    listener = listen_unix(path)
    listener.setblocking(True)
    client = RpcClient(path, timeout=0.2)
    end, _ = listener.accept()
    if answer is not None:
        end.sendall(answer)
        end.shutdown(socket.SHUT_WR)
    with pytest.raises(RpcError, match=text):
        client.call("echo")
    client.close()
    end.close()
    listener.close()
