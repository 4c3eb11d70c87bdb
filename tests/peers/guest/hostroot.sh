# Sourced by init of the guest that runs the project: the host's root, read-only over 9p, below a tmpfs that takes what is
# written. vs.kernel=DIR on the kernel's command line names the unpacked kernel package, whose modules modprobe then finds.
while read -r module; do
  insmod "/mod/$module" || echo "init: $module does not load"
done < /mod/order-hostroot
for word in $(cat /proc/cmdline); do
  case $word in vs.kernel=*) kernel=${word#*=} ;; esac
done
mkdir -p /lower /upper /new
mount -t 9p -o trans=virtio,version=9p2000.L,ro,cache=loose,msize=512000 hostroot /lower || echo "init: no root over 9p"
mount -t tmpfs -o mode=755 tmpfs /upper
mkdir /upper/top /upper/work
mount -t overlay -o lowerdir=/lower,upperdir=/upper/top,workdir=/upper/work overlay /new || echo "init: no overlay"
for place in dev proc sys; do mount --move /$place /new/$place; done
umount /run
mount -t tmpfs -o mode=755 tmpfs /new/run
mkdir -p /new/run/bin /new/dev/pts /new/dev/shm
mount -t devpts devpts /new/dev/pts
mount -t tmpfs tmpfs /new/dev/shm
cp /agent.sh /new/run/agent.sh
cp /bin/busybox /bin/probe /bin/wire /new/run/bin/
# Programs of the root come first; busybox gives what the root lacks, such as ping.
for name in $(busybox --list); do
  [ -e /new/usr/bin/$name ] || [ -e /new/usr/sbin/$name ] || [ -e /new/bin/$name ] || [ -e /new/sbin/$name ] ||
    ln -s busybox /new/run/bin/$name
done
release=$(uname -r)
rm -rf "/new/lib/modules/$release"
mkdir -p /new/lib/modules
ln -s "$kernel/lib/modules/$release" "/new/lib/modules/$release"
export PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8
export AGENT_SHELL=/bin/sh # busybox's own runs its applets before the root's programs
exec switch_root /new /run/bin/busybox sh /run/agent.sh < /dev/console > /dev/console 2>&1
