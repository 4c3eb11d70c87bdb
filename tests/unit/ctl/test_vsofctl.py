"""vsofctl's connection and command line: switches that misbehave, options, targets, refusals, without a daemon."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from ctl import ofctl_client, ofctl_options, vsofctl
from ctl.ofctl_verbs import VERBS
from vswitchd.errors import UsageError
from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.messages import (
    BarrierReply,
    BarrierRequest,
    EchoReply,
    EchoRequest,
    Error,
    FlowMod,
    Hello,
)
from vswitchd.ofproto.multipart import FlowStatsReply, FlowStatsRequest, PortDescReply, PortDescRequest
from vswitchd.ofproto.stats import FlowStats
from vswitchd.ofproto.structures import Port

_ROOT = Path(__file__).parents[3]
HELLO = encode(Hello(frozenset({4})), 1)


@pytest.fixture
def fake(tmp_path):
    """Start a switch that runs a function with the first connection; gives its target."""
    threads = []
    path = str(tmp_path / "sw")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen()

    def start(behave):
        def serve():
            peer, _ = listener.accept()
            with peer, contextlib.suppress(ConnectionError):
                peer.settimeout(20)
                behave(peer)

        threads.append(threading.Thread(target=serve, daemon=True))
        threads[-1].start()
        return f"unix:{path}"

    yield start
    for thread in threads:
        thread.join(20)
        assert not thread.is_alive()
    listener.close()


def messages(peer):
    """Yield what the client sends, its hello answered, until it closes."""
    peer.sendall(HELLO)
    data = bytearray()
    while True:
        while (length := frame(data)) is not None:
            xid, message = decode(bytes(data[:length]))
            del data[:length]
            if not isinstance(message, Hello):
                yield xid, message
        more = peer.recv(1 << 16)
        if not more:
            return
        data += more


def run(*words):
    return vsofctl.main([str(word) for word in words])


BAD_HEADER = b"\x04\x00\x00\x03\x00\x00\x00\x01"
MISBEHAVIOUR = {
    "closes at once": (lambda peer: None, "closed the connection"),
    "speaks HTTP": (lambda peer: peer.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n" + b"x" * 20000), "does not speak OpenFlow"),
    "sends a length below 8": (lambda peer: peer.sendall(BAD_HEADER), "sends no OpenFlow"),
    "speaks 1.0 only": (lambda peer: peer.sendall(b"\x01\x00\x00\x08\x00\x00\x00\x01"), "version negotiation failed"),
    "refuses the hello": (
        lambda peer: peer.sendall(encode(Error(0, 0, b"not you"), 1)), "refused the connection: OFPHFC_INCOMPATIBLE (not you)"),
    "begins with an echo": (lambda peer: peer.sendall(encode(EchoRequest(), 1)), "its first message is no hello"),
    "closes after hello": (lambda peer: (peer.sendall(HELLO), peer.recv(16)), "closed the connection"),
    "garbage after hello": (lambda peer: (peer.sendall(HELLO + b"\xff" * 64), peer.recv(16)), ""),
    "ends within a message": (lambda peer: peer.sendall(HELLO + b"\x04\x13\x01\x00\x00\x00\x00\x02half"), "closed the connection"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISBEHAVIOUR)
def test_a_switch_that_misbehaves_gives_one_line(fake, capfd, name):
    behave, text = MISBEHAVIOUR[name]
    target = fake(behave)
    assert run("dump-flows", target) == 1
    said = capfd.readouterr()
    assert said.out == ""
    assert said.err.startswith(f"vsofctl: {target}: ")
    assert text in said.err
    assert said.err.count("\n") == 1


def test_a_silent_switch_is_given_up(fake, capfd, monkeypatch):
    monkeypatch.setattr(ofctl_client, "HELLO_SECONDS", 0.05)
    target = fake(lambda peer: peer.recv(1000) and peer.recv(1000))
    assert run("probe", target) == 1
    assert "sent no OpenFlow hello within 0.05 seconds" in capfd.readouterr().err


def test_a_switch_that_stops_answering_is_given_up(fake, capfd, monkeypatch):
    monkeypatch.setattr(ofctl_client, "SILENCE_SECONDS", 0.05)
    target = fake(lambda peer: list(messages(peer)))
    assert run("dump-flows", target) == 1
    assert "no answer within 0.05 seconds" in capfd.readouterr().err


def test_timeout_ends_with_sigalrm(tmp_path):
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "sw"))
        listener.listen()
        words = [sys.executable, "-m", "ctl.vsofctl", "-t", "1", "show", str(tmp_path / "sw")]
        environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
        done = subprocess.run(words, capture_output=True, text=True, env=environment)
    assert done.returncode == -14  # what a shell calls 142
    assert done.stderr == "vsofctl: no answer within 1 seconds (--timeout)\n"


def test_a_wrong_reply_and_an_unfinished_one(fake, capfd):
    def wrong(peer):
        for xid, _ in messages(peer):
            peer.sendall(encode(EchoReply(), xid))

    assert run("dump-flows", fake(wrong)) == 1
    assert "answered FlowStatsRequest with EchoReply" in capfd.readouterr().err

    def unfinished(peer):
        for xid, _ in messages(peer):
            peer.sendall(encode(FlowStatsReply((FlowStats(),), flags=1), xid) + encode(EchoReply(), xid))

    assert run("dump-flows", fake(unfinished)) == 1
    assert "ended a reply with EchoReply" in capfd.readouterr().err


def test_echos_are_answered_and_unasked_messages_skipped_while_waiting(fake, capfd):
    seen = []

    def chatty(peer):
        for xid, message in messages(peer):
            seen.append(message)
            if isinstance(message, FlowStatsRequest):
                peer.sendall(encode(EchoRequest(b"there?"), 77) + encode(Error(1, 1), 78))
                request = xid
            else:
                for byte in encode(FlowStatsReply((FlowStats(priority=7),)), request):
                    peer.sendall(bytes([byte]))  # whatever way it is cut

    assert run("--no-stats", "dump-flows", fake(chatty)) == 0
    assert capfd.readouterr().out == " priority=7 actions=drop\n"
    assert seen[1] == EchoReply(b"there?")


def test_errors_of_a_long_file_are_read_while_it_is_sent(fake, capfd, tmp_path):
    """A switch that stops reading while its own answers are not read: both sides would wait for ever."""
    count = 30_000
    path = tmp_path / "flows"
    path.write_text("".join(f"priority={i},actions=drop\n" for i in range(count)))

    def refuse(peer):
        for xid, message in messages(peer):
            if isinstance(message, BarrierRequest):
                peer.sendall(encode(BarrierReply(), xid))
            else:
                assert isinstance(message, FlowMod)
                peer.sendall(encode(Error(5, 1, encode(message, xid)[:64]), xid))

    assert run("add-flows", fake(refuse), path) == 1
    lines = capfd.readouterr().err.splitlines()
    assert lines[0].startswith(f"vsofctl: {path}:1: OFPT_ERROR (OF1.3) (xid=0x")
    assert lines[0].endswith("OFPFMFC_TABLE_FULL (priority=0,actions=drop)")
    assert lines[-1] == f"vsofctl: {path}: and {count - 10} more flows were refused"
    assert len(lines) == 11


def test_port_names_are_asked_for_once_and_only_when_used(fake, capfd):
    def switch(log):
        def behave(peer):
            for xid, message in messages(peer):
                log.append(message)
                if isinstance(message, PortDescRequest):
                    peer.sendall(encode(PortDescReply((Port(7, name="vm1"), Port(8, name="vm2"))), xid))
                if isinstance(message, BarrierRequest):
                    peer.sendall(encode(BarrierReply(), xid))

        return behave

    log = []
    assert run("add-flow", fake(switch(log)), "in_port=1,tcp,actions=2,LOCAL,flood") == 0
    assert [type(message) for message in log] == [FlowMod, BarrierRequest]
    log = []
    assert run("add-flow", fake(switch(log)), "in_port=vm1,actions=vm2,output:vm1") == 0
    assert [type(message) for message in log] == [PortDescRequest, FlowMod, BarrierRequest]
    assert log[1].match.get("in_port").value == 7
    log = []
    assert run("add-flow", fake(switch(log)), "in_port=vm9,actions=drop") == 1
    assert capfd.readouterr().err == 'vsofctl: in_port: no port "vm9"\n'


BAD_LINES = [
    ([], "missing command name; use --help for help"),
    (["foo"], "unknown command 'foo'; use --help for help"),
    (["add-flow", "x"], "'add-flow' command requires at least 2 arguments"),
    (["probe", "x", "y"], "'probe' command takes at most 1 arguments"),
    (["probe", "nosuch"], "nosuch is not a bridge or a socket"),
    (["probe", "x" * 300], f"{'x' * 300} is not a bridge or a socket"),
    (["probe", "unix:/nosuch"], "connecting to unix:/nosuch (No such file or directory)"),
    (["probe", "foo:bar"], "foo:bar: unknown connection method; use unix:PATH, tcp:HOST[:PORT] or ssl:HOST[:PORT]"),
    (["probe", "tcp:1.2.3:1"], "tcp:1.2.3:1: 1.2.3 is not an IPv4 address"),
    (["-O", "OpenFlow10", "probe", "x"], "-O OpenFlow10: vsofctl speaks OpenFlow13 only"),
    (["-O", "what", "probe", "x"], "what: unknown OpenFlow protocol (OpenFlow13)"),
    (["--read-only", "del-flows", "x"], "'del-flows' command does not work in read only mode"),
    (["--no", "probe", "x"], "option '--no' is ambiguous; possibilities: '--no-names' '--no-stats' '--no-syslog'"),
    (["--wat"], "unrecognized option '--wat'"),
    (["-Z"], "invalid option -- 'Z'"),
    (["--strict=1"], "option '--strict' doesn't allow an argument"),
    (["-t"], "option requires an argument -- 't'"),
    (["--timeout"], "option '--timeout' requires an argument"),
    (["-t", "0", "probe", "x"], "value 0 on -t or --timeout is invalid"),
    (["-f", "yaml", "show", "x"], 'unknown output format "yaml" (text or json)'),
    (["--db=tcp:1:2", "show", "x"], "--db=tcp:1:2: use --db=unix:PATH of the daemon's control socket"),
    (["monitor", "x", "foo"], 'foo: unsupported "monitor" argument'),
    (["benchmark", "x", "y", "1"], "payload must be between 0 and 65527 bytes"),
    (["packet-out", "x", "1", "2"], None),
    (["add-flows", "x", "/nosuch"], "/nosuch: cannot read the flows (No such file or directory)"),
]  # fmt: skip


@pytest.mark.parametrize(("words", "text"), BAD_LINES, ids=[" ".join(words)[:40] for words, _ in BAD_LINES])
def test_a_bad_command_line_gives_one_line(capfd, monkeypatch, tmp_path, words, text):
    monkeypatch.setenv("VS_STATE", str(tmp_path))
    assert run(*words) == 1
    said = capfd.readouterr()
    assert said.err.count("\n") == 1
    assert said.err == f"vsofctl: {text}\n" or (text is None and said.err.startswith("vsofctl: "))


def test_ssl_needs_its_three_files(capfd):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        target = f"ssl:127.0.0.1:{listener.getsockname()[1]}"
        assert run("-p", "key", "-c", "cert", "probe", target) == 1
        assert capfd.readouterr().err == "vsofctl: --ca-cert must be specified to use SSL\n"
        assert run("-p", "key", "-c", "cert", "-C", "/nosuch", "probe", target) == 1
        assert "/nosuch: cannot use the CA certificate" in capfd.readouterr().err


def test_options_may_stand_anywhere():
    parsed = ofctl_options.parse(
        ["dump-flows", "-mO", "OpenFlow13,OpenFlow14", "br0", "--rsort=tcp_dst", "--so", "-fjson"]
    )
    assert parsed.words == ["dump-flows", "br0"]
    assert (parsed.more, parsed.json) == (1, True)
    assert parsed.sort == (("tcp_dst", True), ("priority", False))
    assert ofctl_options.parse(["a", "--", "-x", "--strict"]).words == ["a", "-x", "--strict"]
    assert ofctl_options.parse(["--no-names", "add-flows", "br0", "-"]) == ofctl_options.Options(
        words=["add-flows", "br0", "-"], names=False
    )
    with pytest.raises(UsageError):
        ofctl_options.parse(["-P"])


def test_a_bridge_is_found_beside_the_control_socket(fake, tmp_path, capfd):
    def empty(peer):
        for xid, _ in messages(peer):
            peer.sendall(encode(FlowStatsReply(), xid))

    fake(empty)
    (tmp_path / "br7.mgmt").symlink_to(tmp_path / "sw")
    assert run(f"--db=unix:{tmp_path}/db.sock", "-f", "json", "dump-flows", "br7") == 0
    assert json.loads(capfd.readouterr().out) == []


def test_help_names_every_verb_and_option(capfd):
    assert run("--help") == 0
    text = capfd.readouterr().out
    assert all(f"  {verb} " in text for verb in VERBS)
    assert run("--commands") == 0
    assert capfd.readouterr().out.split() == list(VERBS)
    assert run("--version") == 0
    assert capfd.readouterr().out.startswith("vsofctl (vswitchd) ")


def test_every_verb_of_the_table_exists():
    for verb in VERBS.values():
        for where in (verb.act, verb.facts):
            assert not where or callable(vsofctl._function(where)), where


def test_a_reader_that_goes_away_is_no_traceback(fake):
    def many(peer):
        for xid, _ in messages(peer):
            flows = tuple(FlowStats(priority=i) for i in range(1000))
            for _ in range(9):
                peer.sendall(encode(FlowStatsReply(flows, flags=1), xid))
            peer.sendall(encode(FlowStatsReply(), xid))

    words = [sys.executable, "-m", "ctl.vsofctl", "dump-flows", fake(many)]
    environment = {**os.environ, "PYTHONPATH": str(_ROOT)}
    with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment) as process:
        process.stdout.readline()
        process.stdout.close()
        err = process.stderr.read()
    assert err == b""


def test_start_up_loads_neither_asyncio_nor_the_daemon(fake):
    def answer(peer):
        for xid, message in messages(peer):
            peer.sendall(encode(EchoReply(message.data), xid))

    code = "import sys; from ctl import vsofctl; vsofctl.main(sys.argv[1:]); print(*sys.modules)"
    words = [sys.executable, "-c", code, "probe", fake(answer)]
    done = subprocess.run(
        words, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(_ROOT)}, check=True
    )
    loaded = set(done.stdout.split())
    assert "ctl.ofctl_echo" in loaded
    assert not loaded & {
        "asyncio",
        "sqlite3",
        "msgpack",
        "json",
        "logging",
        "vswitchd._core",
        "ctl.ofctl_flows",
    }


def test_timestamps_of_the_clock(monkeypatch):
    from ctl import ofctl_monitor

    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0625)
    monkeypatch.setattr(time, "localtime", time.gmtime)
    assert ofctl_monitor._now() == "2001-09-09 01:46:40.062: "
