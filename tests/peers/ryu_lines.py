"""A test's end of tests/peers/ryu_console.py: Ryu, the controller library, as a test's hands on a switch."""

import json
import os
import socket
from base64 import b64decode
from pathlib import Path
from typing import Any, NamedTuple

from .ryu_controller import ROOT, Ryu
from .wait import until


class Told(NamedTuple):
    """A message of the switch as Ryu read it: Ryu's class, transaction id, Ryu's dictionary of fields."""

    kind: str
    xid: int
    fields: dict[str, Any]


class RyuLines:
    """Ryu with the console application. Not started yet."""

    def __init__(self, place: Path, versions: str = "4") -> None:
        self._path = place / f"ryu{versions.replace(',', '')}.sock"
        os.environ["VS_CONSOLE"], os.environ["VS_CONSOLE_VERSIONS"] = str(self._path), versions
        self.ryu = Ryu(place, str(ROOT / "tests/peers/ryu_console.py"))
        self.ryu.start()
        self._sock = socket.socket(socket.AF_UNIX)
        until(lambda: self._sock.connect(str(self._path)) is None, "Ryu's console answers")
        self._stream = self._sock.makefile("rwb")

    @property
    def target(self) -> str:
        """What the switch calls it."""
        return self.ryu.target

    def _ask(self, **request: Any) -> Any:
        self._stream.write(json.dumps(request).encode() + b"\n")
        self._stream.flush()
        answer = json.loads(self._stream.readline())
        assert not isinstance(answer, dict), f"{answer['error']} for {request}"
        return answer

    def do(self, *expressions: str) -> list[Told]:
        """Send the messages that Ryu makes of Python expressions (p: Ryu's parser, o: its constants, dp); what came back.

        That is everything up to the reply of the barrier which is sent behind them.
        """
        return [Told(*message) for message in self._ask(do=expressions)]

    def raw(self, data: bytes) -> list[Told]:
        """The same with bytes."""
        return [Told(*message) for message in self._ask(raw=data.hex())]

    def wait(self, kind: str) -> Told:
        """The next message of a class that no answer has shown yet."""
        return Told(*self._ask(wait=kind))

    def close(self) -> None:
        """End Ryu."""
        self._sock.close()
        self.ryu.kill()


def data_of(message: Told) -> bytes:
    """The data of a packet-in or an error."""
    return b64decode(message.fields["data"])
