"""Build of the load generator: one compiler call, into build/, again when a source or the compiler's command changed."""

import hashlib
import os
import shlex
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
BUILD = HERE.parents[2] / "build"
FLAGS = shlex.split(
    "-std=gnu11 -O3 -march=native -g -pthread -fno-strict-aliasing "
    "-Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla"
)
SANITIZE = shlex.split("-fsanitize=address,undefined -fno-sanitize-recover=undefined")


def program() -> Path:
    """Compile if need be; the path of the program. SystemExit with the compiler's words when it refuses.

    The name tells the content, so two test runs of different trees (or a sanitizer run) never replace what another one uses.
    """
    sources = sorted(HERE.glob("*.c"))
    compiler = shlex.split(os.environ.get("CC", "cc"))
    flags = FLAGS + (SANITIZE if "VS_ASAN" in os.environ else [])
    digest = hashlib.sha256(repr((compiler, flags)).encode())
    for path in [*sources, *sorted(HERE.glob("*.h"))]:
        digest.update(path.read_bytes())
    target = BUILD / f"vload-{digest.hexdigest()[:12]}"
    if target.exists():
        return target
    BUILD.mkdir(exist_ok=True)
    fresh = target.with_suffix(f".{os.getpid()}")
    environment = {key: value for key, value in os.environ.items() if key != "LD_PRELOAD"}
    command = [*compiler, *flags, *map(str, sources), "-o", str(fresh), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"{shlex.join(command)}\n{done.stderr}")
    fresh.replace(target)
    return target


if __name__ == "__main__":
    print(program())
    sys.exit(0)
