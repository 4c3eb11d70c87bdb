#!/bin/bash
# Build the test guest's initramfs: static busybox, our traffic tool, the virtio modules in load order, our init and agent.
# mkinitramfs.sh PEERS_DIR   (reads PEERS_DIR/kernel, writes PEERS_DIR/initramfs.cpio, uncompressed because TCG unpacks
# slowly, and PEERS_DIR/probe, the tool for the host)
set -eu
PATH=$PATH:/usr/sbin:/sbin
PEERS=$1
HERE=$(cd "$(dirname "$0")" && pwd)
BUSYBOX=$(command -v busybox || true)
[ -n "$BUSYBOX" ] || { echo "mkinitramfs: no busybox; install busybox-static" >&2; exit 1; }
command -v cpio >/dev/null || { echo "mkinitramfs: no cpio; install cpio" >&2; exit 1; }
RELEASE=$(basename "$(ls -d "$PEERS"/kernel/lib/modules/*)")
TREE=$(mktemp -d "$PEERS/initramfs.XXXXXX")
trap 'rm -rf "$TREE"' EXIT
mkdir -p "$TREE"/{bin,proc,sys,dev,run,tmp,mod}
cp "$BUSYBOX" "$TREE/bin/busybox"
cp "$HERE/init" "$HERE/agent.sh" "$TREE/"
chmod +x "$TREE/init"
"${CC:-cc}" -O2 -static "$HERE/probe.c" -o "$TREE/bin/probe" || { echo "mkinitramfs: probe.c does not compile" >&2; exit 1; }
cp "$TREE/bin/probe" "$PEERS/probe.part"
mv "$PEERS/probe.part" "$PEERS/probe"
# `modprobe -D` prints the insmod lines of a module after those it depends on: first come, first loaded.
for module in virtio_pci virtio_console virtio_net; do
  modprobe -d "$PEERS/kernel" -S "$RELEASE" -D "$module" | awk '$1 == "insmod" { print $2 }'
done | awk '!seen[$0]++' | while read -r file; do
  cp "$file" "$TREE/mod/"
  basename "$file" >>"$TREE/mod/order"
done
(cd "$TREE" && find . | cpio -o -H newc -R 0:0 --quiet) >"$PEERS/initramfs.part"
mv "$PEERS/initramfs.part" "$PEERS/initramfs.cpio"
