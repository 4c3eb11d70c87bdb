"""A test's end of tests/peers/ryu_oracle.py: Ryu's codec in a process of its own Python."""

import json
import subprocess
from typing import Any

from .ryu_controller import PYTHON, ROOT, need_ryu


class RyuCodec:
    """The process; `ask` is one line each way."""

    def __init__(self) -> None:
        need_ryu()
        script = str(ROOT / "tests" / "peers" / "ryu_oracle.py")
        self.proc = subprocess.Popen(
            [str(PYTHON), "-W", "ignore", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def ask(self, **request: Any) -> Any:
        """The answer to a request of ryu_oracle.py."""
        self.proc.stdin.write(json.dumps(request) + "\n")
        self.proc.stdin.flush()
        return json.loads(self.proc.stdout.readline())

    def close(self) -> None:
        """End it."""
        self.proc.stdin.close()
        self.proc.wait(30)
        self.proc.stdout.close()
