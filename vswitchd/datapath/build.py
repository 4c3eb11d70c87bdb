"""Build of the compiled extension `vswitchd._core`: one cdef from the public headers, one compiler call per C file.

Run it by hand after an edit of C (`python vswitchd/datapath/build.py`, incremental), or let the wheel build call it
(hatchling's custom hook, see pyproject.toml). Nothing is declared twice: cdef.h and the public headers it includes are
preprocessed with -DVS_CDEF and given to cffi.

Environment: CC, CFLAGS, LDFLAGS are appended; VS_SANITIZE=1 adds AddressSanitizer and UBSan.
"""

from __future__ import annotations

import fcntl
import os
import re
import shlex
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from cffi import FFI

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parent
INCLUDES = [
    HERE,
    PACKAGE / "ofproto",
    *(PACKAGE / "ports" / name for name in ("vhostuser", "kernel", "vfio")),
]
WARNINGS = shlex.split(
    "-Wall -Wextra -Werror -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla -Wno-unused-parameter"
)
BASE_FLAGS = shlex.split(
    "-std=gnu11 -O2 -g -fPIC -pthread -fno-strict-aliasing -fvisibility=hidden -D_GNU_SOURCE"
)
SANITIZE = shlex.split("-fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer")


class BuildError(Exception):
    """The C compiler is missing or refused; the message says which, or is its output."""


def _run(command: list[str]) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildError(f"no C compiler: {command[0]}: {error.strerror}; install gcc, or set CC") from None
    if done.returncode != 0:
        raise BuildError(f"{shlex.join(command)}\n{done.stderr}")
    return done.stdout


def _compiler() -> list[str]:
    return shlex.split(os.environ.get("CC", "cc"))


def sources() -> list[Path]:
    """Every C file of the datapath, of OpenFlow and of the ports."""
    return sorted([*HERE.glob("*.c"), *PACKAGE.glob("ofproto/*.c"), *PACKAGE.glob("ports/*/*.c")])


def cdef_text() -> str:
    """Declarations for cffi: the public headers as the preprocessor leaves them."""
    flags = [f"-I{path}" for path in INCLUDES]
    return _run([*_compiler(), "-E", "-P", "-DVS_CDEF", *flags, str(HERE / "cdef.h")])


def _generated(build: Path) -> Path:
    ffi = FFI()
    ffi.cdef(cdef_text())
    ffi.set_source("vswitchd._core", '#include "cdef.h"\n')
    target = build / "_core.c"
    fresh = build / "_core.new.c"
    ffi.emit_c_code(str(fresh))
    if not target.exists() or target.read_bytes() != fresh.read_bytes():
        fresh.replace(target)
    return target


def _stale(obj: Path, command: str) -> bool:
    """Is the object missing, made by another command, or older than one of the files it was made of?"""
    deps, made_by = obj.with_suffix(".d"), obj.with_suffix(".cmd")
    if not (obj.exists() and deps.exists() and made_by.exists()) or made_by.read_text() != command:
        return True
    made = obj.stat().st_mtime
    return any(
        not Path(n).exists() or Path(n).stat().st_mtime > made for n in prerequisites(deps.read_text())
    )


def prerequisites(rule: str) -> list[str]:
    """File names of a rule that the compiler wrote (gcc -MMD -MT OBJECT); it escapes blanks as make wants them."""
    words = re.findall(r"(?:\\.|\S)+", rule.replace("\\\n", " ").partition(": ")[2])
    return [re.sub(r"\\([\\ #:])", r"\1", word).replace("$$", "$") for word in words]


def _compile(source: Path, obj: Path, flags: list[str]) -> None:
    command = [
        *_compiler(),
        *flags,
        "-MMD",
        "-MT",
        "object",
        "-MF",
        str(obj.with_suffix(".d")),
        "-c",
        str(source),
        "-o",
        str(obj),
    ]
    if _stale(obj, shlex.join(command)):
        _run(command)
        obj.with_suffix(".cmd").write_text(shlex.join(command))


def build(quiet: bool = False) -> Path:
    """Compile what changed and link. Returns the path of the extension; raises BuildError."""
    sanitize = os.environ.get("VS_SANITIZE") == "1"
    work = PACKAGE.parent / "build" / ("asan" if sanitize else "native")
    work.mkdir(parents=True, exist_ok=True)
    target = PACKAGE / f"_core{sysconfig.get_config_var('EXT_SUFFIX')}"
    common = [*BASE_FLAGS, *(SANITIZE if sanitize else []), *shlex.split(os.environ.get("CFLAGS", ""))]
    includes = [f"-I{path}" for path in INCLUDES]
    with (work / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        generated = _generated(work)
        python_include = f"-I{sysconfig.get_paths()['include']}"
        jobs = [(generated, work / "_core.o", [*common, *includes, python_include, "-w"])]
        for source in sources():
            name = "_".join(source.relative_to(PACKAGE).with_suffix(".o").parts)
            jobs.append((source, work / name, [*common, *WARNINGS, *includes]))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            list(pool.map(lambda job: _compile(*job), jobs))
        objects = [str(obj) for _, obj, _ in jobs]
        extra = [*(SANITIZE if sanitize else []), *shlex.split(os.environ.get("LDFLAGS", ""))]
        if (
            not target.exists()
            or any(Path(o).stat().st_mtime > target.stat().st_mtime for o in objects)
            or sanitize
        ):
            fresh = work / "_core.so"
            _run([*_compiler(), "-shared", "-pthread", *objects, *extra, "-o", str(fresh)])
            staged = target.with_suffix(".new")
            staged.write_bytes(fresh.read_bytes())
            staged.chmod(0o755)
            staged.replace(target)
    if not quiet:
        print(target)
    return target


try:
    from hatchling.builders.hooks.plugin.interface import BuildHookInterface
except ImportError:  # by hand, where hatchling is not needed
    pass
else:

    class CoreBuildHook(BuildHookInterface[Any]):
        """hatchling's hook: compile, and put the extension into the wheel."""

        PLUGIN_NAME = "custom"

        def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002
            """Compile before the wheel is packed."""
            try:
                target = build(quiet=True)
            except BuildError as error:
                sys.exit(str(error))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True
            build_data["artifacts"].append(str(target.relative_to(PACKAGE.parent)))


if __name__ == "__main__":
    try:
        build()
    except BuildError as error:
        sys.exit(str(error))
