"""From guest to guest a frame is copied once: bytes moved are counted, not estimated."""

import os
import shlex
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PACKAGE = HERE.parents[2] / "vswitchd"
FOLDERS = [
    PACKAGE / "datapath",
    PACKAGE / "ports/vhostuser",
    PACKAGE / "ports/kernel",
    PACKAGE / "ports/vfio",
]
HEAD = 192  # VS_HEAD_COPY: parsed and edited, so copied in and out
REST = 200  # of the batch: descriptors, headers of the rings, keys and cache entries of a flow


@pytest.fixture(scope="module")
def moved(tmp_path_factory):
    """(frame, buffer, gso, takes) -> bytes moved and bytes forwarded per frame."""
    directory = tmp_path_factory.mktemp("copies")
    compiler = shlex.split(os.environ.get("CC", "cc"))
    counting = [
        "-fno-builtin", "-D_FORTIFY_SOURCE=0", "-include", "string.h", "-Dmemcpy=counted_memcpy", "-Dmemmove=counted_memmove",
        "-include", str(directory / "counted.h"),
    ]  # fmt: skip
    (directory / "counted.h").write_text(
        "void *counted_memcpy(void *, const void *, size_t);\nvoid *counted_memmove(void *, const void *, size_t);\n"
    )
    flags = ["-std=gnu11", "-O1", "-D_GNU_SOURCE", "-fno-strict-aliasing", "-pthread"]
    flags += [f"-I{folder}" for folder in FOLDERS]
    sources = [path for folder in FOLDERS for path in sorted(folder.glob("*.c"))]

    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}

    def compile_one(path):
        out = directory / f"{path.stem}.o"
        own = [] if path.parent == HERE else counting
        subprocess.run([*compiler, *flags, *own, "-c", path, "-o", out], check=True, env=plain)
        return out

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        objects = list(pool.map(compile_one, [*sources, HERE / "count_copies.c"]))
    program = directory / "count_copies"
    subprocess.run([*compiler, *objects, "-pthread", "-o", program], check=True, env=plain)

    def run(*words):
        command = [program, *map(str, map(int, words))]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=plain)
        assert done.returncode == 0, done
        return tuple(map(int, done.stdout.split()))

    return run


@pytest.mark.parametrize(
    ("length", "buffer"),
    [(1500, 2048), (1514, 2048), (9014, 2048), (9014, 16384), (65535, 1536), (65535, 4096), (65535, 65600)],
)
def test_one_copy_and_headers(moved, length, buffer):
    bytes_moved, forwarded = moved(length, buffer, length > 9014, 1)
    assert forwarded == length
    assert length + HEAD <= bytes_moved <= length + HEAD + REST + 16 * (length // buffer)  # a descriptor each


def test_software_segmentation_is_two_copies(moved):
    """Into scratch memory, where each word is loaded once for the checksum (counted, too), and into the ring."""
    bytes_moved, forwarded = moved(65535, 2048, 1, 0)
    segments = -(-(65535 - 54) // 1448)
    assert forwarded == 65535 + 54 * (segments - 1)
    assert bytes_moved <= 3 * forwarded + HEAD + REST + 100 * segments
