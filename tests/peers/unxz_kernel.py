"""The uncompressed ELF kernel inside a Debian bzImage: `unxz_kernel.py VMLINUZ VMLINUX`."""

import lzma
import sys
from pathlib import Path

XZ_MAGIC = b"\xfd7zXZ\0"


def extract(image: bytes) -> bytes:
    """Return the first xz stream in `image` that unpacks to an ELF file; ValueError when there is none."""
    at = image.find(XZ_MAGIC)
    while at >= 0:
        try:
            payload = lzma.LZMADecompressor().decompress(image[at:])
        except lzma.LZMAError:
            payload = b""
        if payload[:4] == b"\x7fELF":
            return payload
        at = image.find(XZ_MAGIC, at + 1)
    raise ValueError("no xz-compressed ELF kernel in this image")


def main() -> int:
    """Run from install.sh."""
    source, target = map(Path, sys.argv[1:3])
    try:
        elf = extract(source.read_bytes())
    except (OSError, ValueError) as error:
        print(f"unxz_kernel: {source}: {error}", file=sys.stderr)
        return 1
    scratch = target.with_suffix(".part")
    scratch.write_bytes(elf)
    scratch.rename(target)
    return 0


if __name__ == "__main__":
    sys.exit(main())
