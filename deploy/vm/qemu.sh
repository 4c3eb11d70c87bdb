#!/bin/sh
# Start a guest on a vhost-user port.   qemu.sh SOCKET server|client [QUEUES] -- DISK-AND-OTHER-QEMU-OPTIONS...
#   server: QEMU listens (port type dpdkvhostuserclient); client: the switch listens (dpdkvhostuser)
set -eu
socket=$1 mode=$2 queues=1
shift 2
[ "$1" = -- ] || { queues=$1; shift; }
[ "$1" = -- ] && shift
case $mode in
  server) chardev="socket,id=c0,path=$socket,server=on,wait=off" ;;
  client) chardev="socket,id=c0,path=$socket,reconnect=1" ;;
  *) echo "qemu.sh: mode is server or client, not $mode" >&2; exit 1 ;;
esac
accel=tcg
[ -w /dev/kvm ] && accel=kvm
mq=""
[ "$queues" -gt 1 ] && mq=",mq=on,vectors=$((2 * queues + 2))"
# Shared memory is what vhost-user stands on; memfd needs no hugepages.
exec qemu-system-x86_64 -accel $accel -m 1G -smp "$queues" \
  -object memory-backend-memfd,id=mem,size=1G,share=on -numa node,memdev=mem \
  -chardev "$chardev" -netdev "vhost-user,id=n0,chardev=c0,queues=$queues" \
  -device "virtio-net-pci,netdev=n0$mq" "$@"
