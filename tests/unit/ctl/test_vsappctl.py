"""vsappctl's command line: options before the command, -f and --pretty also behind it, all else is the command's."""

import pytest

from ctl import vsappctl
from vswitchd.errors import UsageError


@pytest.mark.parametrize(
    ("line", "values", "words"),
    [
        ("version", {}, ["version"]),
        (
            "-t /x/y -T 5 -f json version",
            {"--target": "/x/y", "--timeout": "5", "--format": "json"},
            ["version"],
        ),
        ("-t/x/y -T5 fdb/show br0", {"--target": "/x/y", "--timeout": "5"}, ["fdb/show", "br0"]),
        ("--format=json --pretty drops", {"--format": "json", "--pretty": "yes"}, ["drops"]),
        ("fdb/show br0 -f json --pretty", {"--format": "json", "--pretty": "yes"}, ["fdb/show", "br0"]),
        ("pmd -nh -pmd 3 --format=json", {"--format": "json"}, ["pmd", "-nh", "-pmd", "3"]),
        ("-- drops -f", {}, ["drops", "-f"]),
        ("vlog/set any:file:dbg -T 5", {}, ["vlog/set", "any:file:dbg", "-T", "5"]),
        ("--db=unix:/s list-commands", {"--db": "unix:/s"}, ["list-commands"]),
    ],
)
def test_words(line, values, words):
    options = vsappctl.parse(line.split())
    assert options.values == values
    assert options.words == words


@pytest.mark.parametrize("line", ["--nosuch x", "-z", "-t", "version -f", "--pretty=yes version"])
def test_what_cannot_be_understood(line):
    with pytest.raises(UsageError):
        vsappctl.parse(line.split())


def test_the_socket(monkeypatch, tmp_path):
    monkeypatch.setenv("VS_STATE", str(tmp_path))
    for line, path in (
        ("version", f"{tmp_path}/db.sock"),
        ("-t vswitchd version", f"{tmp_path}/db.sock"),
        ("-t ovs-vswitchd version", f"{tmp_path}/db.sock"),
        ("-t unix:/a/b version", "/a/b"),
        ("-t /a/b version", "/a/b"),
        ("--db=unix:/a/b version", "/a/b"),
        ("--state=/c version", "/c/db.sock"),
    ):
        assert vsappctl.socket_path(vsappctl.parse(line.split())) == path
