"""Ryu's recorded OpenFlow messages and its dictionaries of them, where the install script left them.

They are in Ryu's own repository but not in its package. os-ken, which continues Ryu and which faucet brings along, has
them unchanged; the digest below is that of Ryu's own files.
"""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from . import need

FOLDERS = {1: "of10", 4: "of13"}
# Over all messages in order, JSON in its shortest form: whatever the white space.
SHA256 = "e836786e87eac99771b37aa73c6faa4ebfcf2ed0298dc16b85c10b3564f9d5b2"


@dataclass(frozen=True, slots=True)
class Recorded:
    """A message on the wire and Ryu's dictionary of it."""

    name: str
    version: int
    wire: bytes
    json: dict[str, Any]


def load(root: Path) -> list[Recorded]:
    """Read the messages of OpenFlow 1.0 and 1.3 below `root`, a folder that is laid out as ryu/tests."""
    found = []
    for version, folder in FOLDERS.items():
        for path in sorted((root / "packet_data" / folder).glob("*.packet")):
            text = (root / "unit/ofproto/json" / folder / f"{path.name}.json").read_text()
            found.append(Recorded(path.name, version, path.read_bytes(), json.loads(text)))
    return found


def digest(messages: list[Recorded]) -> str:
    """SHA-256 over names, bytes and dictionaries."""
    total = hashlib.sha256()
    for msg in messages:
        total.update(f"{msg.version} {msg.name} {msg.wire.hex()} ".encode())
        total.update(json.dumps(msg.json, sort_keys=True, separators=(",", ":")).encode() + b"\n")
    return total.hexdigest()


def need_recorded() -> list[Recorded]:
    """All recorded messages; the test skips without them, and fails when they are not Ryu's."""
    roots = sorted((need.PEERS / "faucet").glob("lib/python3*/site-packages/os_ken/tests/packet_data"))
    if not roots:
        need.missing(f"Ryu's recorded messages are not in {need.PEERS}/faucet: {need.INSTALL}")
    messages = load(roots[0].parent)
    if digest(messages) != SHA256:
        pytest.fail(
            f"{roots[0].parent} is not what Ryu recorded: remove {need.PEERS}/faucet, then {need.INSTALL}"
        )
    return messages
