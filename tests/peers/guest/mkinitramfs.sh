#!/bin/bash
# Build the test guest's initramfs: static busybox, our traffic tool, the virtio modules in load order, our init and agent.
# mkinitramfs.sh PEERS_DIR   (reads PEERS_DIR/kernel, writes PEERS_DIR/initramfs.cpio, uncompressed because TCG unpacks
# slowly; initramfs-hostroot.cpio, the same and what a guest on the host's root needs; probe and wire, for the host)
set -eu
PATH=$PATH:/usr/sbin:/sbin
PEERS=$1
HERE=$(cd "$(dirname "$0")" && pwd)
BUSYBOX=$(command -v busybox || true)
[ -n "$BUSYBOX" ] || { echo "mkinitramfs: no busybox; install busybox-static" >&2; exit 1; }
command -v cpio >/dev/null || { echo "mkinitramfs: no cpio; install cpio" >&2; exit 1; }
RELEASE=$(basename "$(ls -d "$PEERS"/kernel/lib/modules/*)")
WORK=$(mktemp -d "$PEERS/initramfs.XXXXXX")
trap 'rm -rf "$WORK"' EXIT
TREE=$WORK/tree MORE=$WORK/more
mkdir -p "$TREE"/{bin,proc,sys,dev,run,tmp,mod} "$MORE"/{bin,mod}
cp "$BUSYBOX" "$TREE/bin/busybox"
cp "$HERE/init" "$HERE/agent.sh" "$TREE/"
chmod +x "$TREE/init"
tool() { # NAME DIRECTORY
  "${CC:-cc}" -O2 -static "$HERE/$1.c" -o "$2/$1" || { echo "mkinitramfs: $1.c does not compile" >&2; exit 1; }
  cp "$2/$1" "$PEERS/$1.part"
  mv "$PEERS/$1.part" "$PEERS/$1"
}
tool probe "$TREE/bin"
tool wire "$MORE/bin"
cp "$HERE/hostroot.sh" "$MORE/"
# `modprobe -D` prints the insmod lines of a module after those it depends on: first come, first loaded.
modules() { # TREE ORDER MODULE...
  local tree=$1 order=$2 module
  shift 2
  for module; do
    modprobe -d "$PEERS/kernel" -S "$RELEASE" -D "$module" | awk '$1 == "insmod" { print $2 }'
  done | awk '!seen[$0]++' | while read -r file; do
    [ -e "$TREE/mod/$(basename "$file")" ] && continue
    cp "$file" "$tree/mod/"
    basename "$file" >>"$tree/mod/$order"
  done
}
modules "$TREE" order virtio_pci virtio_console virtio_net
modules "$MORE" order-hostroot 9pnet_virtio 9p overlay
pack() { (cd "$1" && find . | cpio -o -H newc -R 0:0 --quiet); }
pack "$TREE" >"$PEERS/initramfs.part"
{ cat "$PEERS/initramfs.part" && pack "$MORE"; } >"$PEERS/initramfs-hostroot.part"
mv "$PEERS/initramfs.part" "$PEERS/initramfs.cpio"
mv "$PEERS/initramfs-hostroot.part" "$PEERS/initramfs-hostroot.cpio"
