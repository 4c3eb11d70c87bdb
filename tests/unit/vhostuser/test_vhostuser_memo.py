"""What a peer negotiated is remembered: the file, its mistakes, and whom it is about."""

import json
import logging
import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from vswitchd.ports.vhostuser import memo
from vswitchd.ports.vhostuser.features import Offer
from vswitchd.ports.vhostuser.memo import DIRECTORY, Memo, MemoFile, Peer

MEMO = Memo(Peer(4711, 99), Offer(0x1_4000_8000, 0x9), Offer(0x1_0000_8000, 0x1, 2))


def path_of(tmp_path, name="vh0"):
    return tmp_path / DIRECTORY / f"{name}.json"


def myself():
    a, b = socket.socketpair()
    with a, b:
        return memo.find_peer(a)


def test_text_and_back():
    assert memo.decode(memo.encode(MEMO)) == MEMO


def test_another_life_recalls_it(tmp_path):
    MemoFile("vh0", tmp_path).remember(MEMO)
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) == MEMO
    assert stat.S_IMODE(path_of(tmp_path).stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / DIRECTORY).stat().st_mode) == 0o700
    assert [p.name for p in (tmp_path / DIRECTORY).iterdir()] == ["vh0.json"]


@pytest.mark.parametrize("peer", [None, Peer(4711, 100), Peer(4712, 99)])
def test_only_the_same_process_recalls_it(tmp_path, peer):
    """A pid alone comes again."""
    file = MemoFile("vh0", tmp_path)
    file.remember(MEMO)
    assert file.recall(peer) is None
    assert MemoFile("vh0", tmp_path).recall(peer) is None
    assert MemoFile("vh1", tmp_path).recall(MEMO.peer) is None


def test_the_newest_counts(tmp_path):
    newer = Memo(Peer(5, 6), Offer(7, 8, 9), Offer(1, 0, 1))
    file = MemoFile("vh0", tmp_path)
    file.remember(MEMO)
    file.remember(newer)
    assert MemoFile("vh0", tmp_path).recall(newer.peer) == newer
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) is None


def test_what_is_known_is_not_written_again(tmp_path):
    file = MemoFile("vh0", tmp_path)
    file.remember(MEMO)
    before = path_of(tmp_path).stat().st_ino
    file.remember(MEMO)
    assert path_of(tmp_path).stat().st_ino == before


@pytest.mark.parametrize(
    "name",
    ["..", "a/../../b", "x" * 500, "\u00e9\n", "vh0.new"],
    ids=["dots", "slashes", "long", "odd", "new"],
)
def test_names_stay_in_the_directory(tmp_path, name):
    file = MemoFile(name, tmp_path)
    file.remember(MEMO)
    assert len(list((tmp_path / DIRECTORY).iterdir())) == 1
    assert MemoFile(name, tmp_path).recall(MEMO.peer) == MEMO
    assert [p.name for p in tmp_path.iterdir()] == [DIRECTORY]
    assert MemoFile("x" * 499 + "y", tmp_path).recall(MEMO.peer) is None


GOOD = json.loads(memo.encode(MEMO))
BROKEN = {
    "empty": "",
    "cut": memo.encode(MEMO)[:-20],
    "binary": "\0" * 50,
    "list": "[]",
    "deep": "[" * 4000,
    "format": json.dumps({**GOOD, "format": 2}),
    "pid": json.dumps({**GOOD, "peer": {"pid": "1", "start": 1}}),
    "negative": json.dumps({**GOOD, "peer": {"pid": -1, "start": 1}}),
    "pairs": json.dumps({**GOOD, "offered": {**GOOD["offered"], "queue_pairs": 65}}),
    "word": json.dumps({**GOOD, "negotiated": {**GOOD["negotiated"], "features": "-0x1"}}),
    "wide": json.dumps({**GOOD, "negotiated": {**GOOD["negotiated"], "features": "0x1" + "0" * 16}}),
    "number": json.dumps({**GOOD, "negotiated": {**GOOD["negotiated"], "features": 1}}),
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_one_line_and_is_replaced(tmp_path, caplog, text):
    file = MemoFile("vh0", tmp_path)
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).write_text(text)
    assert file.recall(MEMO.peer) is None
    assert [r.levelno for r in caplog.records] == [logging.WARNING]
    assert caplog.records[0].message.startswith(f"vh0: cannot read {path_of(tmp_path)} (")
    file.remember(MEMO)
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) == MEMO
    assert len(caplog.records) == 1


def test_a_file_that_cannot_be_written_is_one_line_and_is_remembered_here(tmp_path, caplog):
    (tmp_path / DIRECTORY).write_text("no directory")
    file = MemoFile("vh0", tmp_path)
    for word in range(3):
        file.remember(Memo(MEMO.peer, MEMO.offered, Offer(word, 0, 1)))
    assert file.recall(MEMO.peer).negotiated == Offer(2, 0, 1)
    assert [r.message.partition(" (")[0] for r in caplog.records] == [
        f"vh0: cannot write {path_of(tmp_path)}"
    ]
    file.close()
    assert (tmp_path / DIRECTORY).read_text() == "no directory"


def test_a_full_disk(tmp_path, caplog, monkeypatch):
    """What was written before stays whole, and nothing half-written stays."""
    MemoFile("vh0", tmp_path).remember(MEMO)
    file = MemoFile("vh0", tmp_path)

    def full(_memo):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(memo, "encode", full)
        file.remember(Memo(Peer(1, 2), MEMO.offered, MEMO.negotiated))
    (record,) = caplog.records
    assert record.message.startswith(f"vh0: cannot write {path_of(tmp_path)} (No space left on device); ")
    assert [p.name for p in (tmp_path / DIRECTORY).iterdir()] == ["vh0.json"]
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) == MEMO


def test_links_are_not_followed(tmp_path):
    """Who may write to the run directory must not make the switch overwrite or read files elsewhere."""
    precious = tmp_path / "precious"
    precious.write_text(memo.encode(MEMO))
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path).symlink_to(precious)
    path_of(tmp_path).with_suffix(".new").symlink_to(precious)
    file = MemoFile("vh0", tmp_path)
    assert file.recall(MEMO.peer) is None
    other = Memo(Peer(1, 2), MEMO.offered, MEMO.negotiated)
    file.remember(other)
    assert precious.read_text() == memo.encode(MEMO)
    assert MemoFile("vh0", tmp_path).recall(other.peer) == other


def test_a_fifo_does_not_block(tmp_path):
    path_of(tmp_path).parent.mkdir()
    os.mkfifo(path_of(tmp_path))
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) is None


def test_the_peer_is_the_process_at_the_other_end():
    me = myself()
    assert me.pid == os.getpid()
    assert me == myself()
    assert str(me.start) == Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19]


def test_a_process_with_a_nasty_name(tmp_path):
    """proc(5): the name stands in parentheses and may hold anything, also parentheses and spaces."""
    code = "import sys; open('/proc/self/comm', 'w').write(') R 1 2 3 (x'); print('up', flush=True); sys.stdin.read()"
    child = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout.readline() == b"up\n"
        start = memo._start_of(child.pid)
        assert start >= myself().start
    finally:
        child.communicate()
    assert memo._start_of(child.pid) is None


@pytest.mark.parametrize("pid", [0, -1, 1 << 30])
def test_a_process_that_cannot_be_seen(pid):
    assert memo._start_of(pid) is None


def test_what_is_known_of_the_dead_goes_with_the_port(tmp_path):
    file = MemoFile("vh0", tmp_path)
    file.remember(Memo(Peer(os.getpid(), 1), MEMO.offered, MEMO.negotiated))
    file.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_known_of_the_living_stays(tmp_path):
    """It may come back: to a port made anew, or to the switch after its restart."""
    me = Memo(myself(), MEMO.offered, MEMO.negotiated)
    file = MemoFile("vh0", tmp_path)
    file.remember(me)
    file.close()
    assert MemoFile("vh0", tmp_path).recall(me.peer) == me


def test_a_new_switch_sweeps(tmp_path):
    me = Memo(myself(), MEMO.offered, MEMO.negotiated)
    for name, what in (("gone", MEMO), ("here", me)):
        MemoFile(name, tmp_path).remember(what)
    path_of(tmp_path, "broken").write_text("{")
    memo.sweep(tmp_path)
    assert [p.name for p in (tmp_path / DIRECTORY).iterdir()] == ["here.json"]


def test_the_first_port_of_a_process_sweeps(tmp_path):
    path_of(tmp_path).parent.mkdir()
    path_of(tmp_path, "gone").write_text(memo.encode(MEMO))
    MemoFile("vh0", tmp_path)
    assert list((tmp_path / DIRECTORY).iterdir()) == []


def test_what_could_not_be_written_is_tried_again(tmp_path, caplog):
    (tmp_path / DIRECTORY).write_text("no directory")
    file = MemoFile("vh0", tmp_path)
    file.remember(MEMO)
    (tmp_path / DIRECTORY).unlink()
    file.remember(MEMO)
    assert MemoFile("vh0", tmp_path).recall(MEMO.peer) == MEMO
    assert len(caplog.records) == 1
