"""Child processes that cannot outlive their test: ended by pid, or by the kernel if the test run dies."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from .wait import until

# setpriv survives exec, so the pid stays ours; PR_SET_PDEATHSIG ends the peer when pytest itself is killed.
LEASH = ("setpriv", "--pdeathsig", "KILL")
LOG_TAIL = 4000


def environment(argv: Sequence[str], extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Our environment with the C locale, sbin on the PATH and `extra`.

    LD_PRELOAD, the sanitizer that this test run was started with, is for the daemon alone, not for a peer.
    """
    base = {**os.environ, "LC_ALL": "C", "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin"}
    if "vswitchd" not in argv:
        base.pop("LD_PRELOAD", None)
    return {**base, **(extra or {})}


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 60,
    check: bool = True,
    env: Mapping[str, str] | None = None,
    stdin: str | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run to completion with captured text; AssertionError with command and output when `check` fails."""
    words = [str(word) for word in argv]
    done = subprocess.run(
        words,
        capture_output=True,
        text=True,
        timeout=timeout,
        env=environment(words, env),
        input=stdin,
        check=False,
    )
    if check and done.returncode:
        raise AssertionError(f"{' '.join(words)}: exit code {done.returncode}\n{done.stdout}{done.stderr}")
    return done


class Child:
    """One background process. Its output goes to `log`; standard input is a pipe when `interactive`."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        interactive: bool = False,
        env: Mapping[str, str] | None = None,
        nice: int = 5,
    ) -> None:
        self.argv = [str(word) for word in argv]
        self.log = log
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [*LEASH, "nice", "-n", str(nice), *self.argv],
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.PIPE if interactive else subprocess.DEVNULL,
                env=environment(self.argv, env),
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def stdin(self) -> IO[bytes]:
        assert self._process.stdin is not None, "not started interactive"
        return self._process.stdin

    @property
    def returncode(self) -> int | None:
        """Exit code, None while running."""
        return self._process.poll()

    def output(self) -> str:
        """All it has written so far."""
        return self.log.read_text(errors="replace")

    def check_alive(self) -> None:
        """AssertionError with the log's tail if it has ended."""
        if (code := self.returncode) is not None:
            raise AssertionError(
                f"{self.argv[0]} ended with {code}; {self.log}:\n{self.output()[-LOG_TAIL:]}"
            )

    def wait_output(self, text: str, *, seconds: float = 60, start: int = 0) -> None:
        """Until `text` stands in the log after offset `start`."""

        def there() -> bool:
            if text in self.output()[start:]:
                return True
            self.check_alive()
            return False

        until(there, f"{text!r} in the output of {self.argv[0]} ({self.log})", seconds=seconds)

    def wait_exit(self, *, seconds: float = 30) -> int:
        """Until it has ended by itself; its exit code."""
        return self._process.wait(seconds)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to this process only; nothing if it has ended."""
        if self._process.poll() is None:
            self._process.send_signal(number)

    def stop(self, *, seconds: float = 10) -> int:
        """SIGTERM, then SIGKILL after `seconds`; the exit code. Safe to repeat."""
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        self.signal(signal.SIGTERM)
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait(10)

    def kill(self) -> int:
        """SIGKILL and reap."""
        self.signal(signal.SIGKILL)
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        return self._process.wait(10)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
