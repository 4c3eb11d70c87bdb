#!/bin/bash
# Install the real peers that the interop tests and the benchmark drive, on Debian 12, by apt (and pip, for faucet).
#
#   tests/peers/install.sh            install what is missing (a second run does nothing and takes under 2 s)
#   VS_PEERS=DIR                      where the big artefacts go (default /var/tmp/vswitchd-peers); never into the tree
#   VS_HUGEPAGES=N                    2 MB pages for the DPDK peers (default 1024; 0 = leave alone)
#
# Packages go where apt puts them (needs root). QEMU 10 (bookworm-backports), a Debian kernel, ovs-testcontroller and
# Mininet are only unpacked into VS_PEERS, beside whatever the system has: Debian 12's own QEMU 7.2 crashes with
# vhost-user + MSI-X without KVM, and packages of controllers start services.
# Whatever cannot be had is named on standard output with the reason; the exit code is 0 as long as the rest stands,
# because a test that misses its peer says so itself (and fails where VS_REQUIRE_PEERS=1).
set -u
export LC_ALL=C DEBIAN_FRONTEND=noninteractive PATH=$PATH:/usr/sbin:/sbin
PEERS=${VS_PEERS:-/var/tmp/vswitchd-peers}
HERE=$(cd "$(dirname "$0")" && pwd)
SKIPPED=()
say() { printf 'peers: %s\n' "$*"; }
skip() { SKIPPED+=("$*"); }

PACKAGES=(
  dpdk-dev                  # dpdk-testpmd: virtio-user guests, vhost back ends, packet generator
  openvswitch-switch        # ovs-ofctl, ovs-vsctl, and with the next one
  openvswitch-switch-dpdk   # OVS-DPDK, the peer of the benchmark
  iproute2 iputils-ping tcpdump ethtool util-linux
  busybox-static cpio kmod  # the guest's initramfs
  qemu-system-x86           # for the libraries that QEMU 10 needs
  valgrind                  # callgrind runs of tests/bench
)

installed() { [ "$(dpkg-query -W -f '${db:Status-Abbrev}' "$1" 2>/dev/null)" = "ii " ]; }

ovs_running() { pidof ovs-vswitchd ovs-vswitchd-dpdk ovsdb-server >/dev/null 2>&1; }

# The package starts the system's own Open vSwitch. The tests use private instances only, and a service that we
# brought in must not stay behind; one that ran before us is the operator's and is left alone.
stop_new_ovs() {
  if command -v systemctl >/dev/null && [ -d /run/systemd/system ]; then
    systemctl -q disable --now openvswitch-switch.service 2>/dev/null || true
  fi
  [ -x /usr/share/openvswitch/scripts/ovs-ctl ] && /usr/share/openvswitch/scripts/ovs-ctl stop >/dev/null 2>&1
  return 0
}

install_packages() {
  local missing=() p had_ovs=no before=no
  for p in "${PACKAGES[@]}"; do installed "$p" || missing+=("$p"); done
  [ ${#missing[@]} -eq 0 ] && return
  if [ "$(id -u)" != 0 ]; then
    skip "packages ${missing[*]}: need root; run: sudo apt-get install --no-install-recommends ${missing[*]}"
    return
  fi
  if ! command -v apt-get >/dev/null; then
    skip "packages ${missing[*]}: no apt-get on this machine"
    return
  fi
  installed openvswitch-switch && had_ovs=yes
  ovs_running && before=yes
  say "installing ${missing[*]}"
  apt-get -qq update || say "apt-get update failed; trying with the lists that are there"
  if ! apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "${missing[@]}" >"$PEERS/apt.log" 2>&1; then
    say "apt-get could not install all at once (log: $PEERS/apt.log); trying one by one"
    for p in "${missing[@]}"; do
      apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends "$p" >>"$PEERS/apt.log" 2>&1 ||
        skip "package $p: $(grep '^E:' "$PEERS/apt.log" | tail -1)"
    done
  fi
  [ $had_ovs = no ] && [ $before = no ] && ovs_running && stop_new_ovs
}

# A private apt configuration: backports are read for one download and never join the system's sources.
private_apt() {
  local key=/usr/share/keyrings/debian-archive-keyring.gpg apt=$PEERS/apt mirror
  mirror=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' | grep -v security | head -1)
  mirror=${mirror:-http://deb.debian.org/debian}
  mkdir -p "$apt"/{lists/partial,cache/archives/partial,state,debs}
  printf 'deb [signed-by=%s] %s bookworm-backports main\ndeb [signed-by=%s] %s bookworm main\n' \
    $key "$mirror" $key "$mirror" >"$apt/sources.list"
  cat >"$apt/apt.conf" <<CONF
Dir::Etc::sourcelist "$apt/sources.list"; Dir::Etc::sourceparts "/dev/null";
Dir::State "$apt/state"; Dir::State::Lists "$apt/lists"; Dir::Cache "$apt/cache";
Dir::State::status "/var/lib/dpkg/status"; APT::Sandbox::User "";
CONF
  APT_CONFIG=$apt/apt.conf apt-get -qq update
}

private_download() { # SUITE PACKAGE...: into $PEERS/apt/debs
  local suite=$1
  shift
  [ -n "${APT_READY:-}" ] || private_apt || return 1
  APT_READY=1
  (cd "$PEERS/apt/debs" && APT_CONFIG=$PEERS/apt/apt.conf apt-get -qq download -t "$suite" "$@")
}

install_qemu() {
  local dir=$PEERS/qemu10 bin=$PEERS/qemu10/usr/bin/qemu-system-x86_64 deb missing
  [ -e "$PEERS/qemu10.ok" ] && return
  if [ ! -e "$dir/unpacked" ]; then
    rm -rf "$dir"
    mkdir -p "$dir"
    say "unpacking QEMU 10 from bookworm-backports into $dir"
    if ! private_download bookworm-backports qemu-system-x86 qemu-system-common qemu-system-data seabios; then
      skip "QEMU 10: the download from bookworm-backports failed"
      return
    fi
    for deb in "$PEERS"/apt/debs/{qemu-system,seabios}*.deb; do dpkg -x "$deb" "$dir" || return; done
    rm -f "$PEERS"/apt/debs/{qemu-system,seabios}*.deb
    touch "$dir/unpacked"
  fi
  missing=$(ldd "$bin" 2>/dev/null | awk '/not found/{print $1}' | tr '\n' ' ')
  if [ -n "$missing" ]; then
    skip "QEMU 10: libraries missing: $missing(they come with: apt-get install --no-install-recommends qemu-system-x86)"
    return
  fi
  "$bin" --version >/dev/null && touch "$PEERS/qemu10.ok"
}

# The kernel package is unpacked, never installed. QEMU boots the uncompressed vmlinux by its PVH entry: half the
# boot time under TCG, where unpacking xz costs 6 s.
install_kernel() {
  local dir=$PEERS/kernel package deb release
  [ -e "$PEERS/kernel.ok" ] && return
  command -v depmod >/dev/null || { skip "guest kernel: depmod is missing (package kmod)"; return; }
  say "unpacking a Debian kernel into $dir"
  rm -rf "$dir"
  mkdir -p "$dir"
  [ -n "${APT_READY:-}" ] || private_apt || { skip "guest kernel: apt-get update failed"; return; }
  APT_READY=1
  package=$(APT_CONFIG=$PEERS/apt/apt.conf apt-cache depends linux-image-amd64/bookworm |
    awk '/Depends: linux-image-6/{print $2; exit}')
  if [ -z "$package" ] || ! private_download bookworm "$package"; then
    skip "guest kernel: the download of ${package:-linux-image-amd64} failed"
    return
  fi
  deb=$(ls "$PEERS"/apt/debs/linux-image-*.deb | tail -1)
  dpkg -x "$deb" "$dir" && rm -f "$deb"
  release=$(basename "$(ls -d "$dir"/lib/modules/*)")
  depmod -b "$dir" "$release"
  # A Python that was built without liblzma cannot do it; Debian's own can.
  python3 "$HERE/unxz_kernel.py" "$dir/boot/vmlinuz-$release" "$PEERS/vmlinux" ||
    /usr/bin/python3 "$HERE/unxz_kernel.py" "$dir/boot/vmlinuz-$release" "$PEERS/vmlinux" ||
    { skip "guest kernel: $dir/boot/vmlinuz-$release cannot be unpacked"; return; }
  touch "$PEERS/kernel.ok"
}

build_initramfs() {
  local part
  [ -e "$PEERS/kernel.ok" ] || return
  for part in init hostroot.sh agent.sh probe.c wire.c mkinitramfs.sh; do
    [ "$PEERS/initramfs-hostroot.cpio" -nt "$HERE/guest/$part" ] && continue
    if ! "$HERE/guest/mkinitramfs.sh" "$PEERS"; then skip "guest initramfs: see the message above"; fi
    return
  done
}

install_tools() {
  local dir=$PEERS/tools deb names='openvswitch-testcontroller mininet iperf net-tools inetutils-telnet'
  [ -e "$PEERS/tools.ok" ] && return
  say "unpacking ovs-testcontroller and Mininet into $dir"
  rm -rf "$dir"
  mkdir -p "$dir"
  # shellcheck disable=SC2086
  if ! private_download bookworm $names; then
    skip "ovs-testcontroller and Mininet: the download failed"
    return
  fi
  for deb in $names; do
    dpkg -x "$(echo "$PEERS/apt/debs/$deb"_*.deb)" "$dir" || return
    rm -f "$PEERS/apt/debs/$deb"_*.deb
  done
  ln -s inetutils-telnet "$dir/usr/bin/telnet"
  touch "$PEERS/tools.ok"
}

install_faucet() {
  [ -e "$PEERS/faucet/.complete" ] || say "setting up faucet in $PEERS/faucet"
  "$HERE/faucet_venv.sh" "$PEERS/faucet" >"$PEERS/faucet.log" 2>&1 ||
    skip "faucet: $(tail -1 "$PEERS/faucet.log") (log: $PEERS/faucet.log)"
}

set_hugepages() {
  local want=${VS_HUGEPAGES:-1024} have file=/proc/sys/vm/nr_hugepages
  [ "$want" = 0 ] && return
  have=$(cat $file 2>/dev/null || echo 0)
  [ "$have" -ge "$want" ] && return
  if [ ! -w $file ]; then
    skip "huge pages: $have of $want 2 MB pages; need root: sysctl vm.nr_hugepages=$want (the peers need them, the switch does not)"
    return
  fi
  echo "$want" >$file
  have=$(cat $file)
  [ "$have" -ge "$want" ] || skip "huge pages: the kernel gave $have of $want"
}

mount_hugetlbfs() {
  [ "$(id -u)" = 0 ] || return
  grep -q ' hugetlbfs ' /proc/mounts && return
  mkdir -p /dev/hugepages && mount -t hugetlbfs none /dev/hugepages 2>/dev/null ||
    skip "huge pages: /dev/hugepages cannot be mounted here (OVS-DPDK in the benchmark needs it)"
}

if [ "$(uname -m)" != x86_64 ]; then
  say "nothing installed: the peers are set up for x86_64 only (this is $(uname -m))"
  exit 0
fi
mkdir -p "$PEERS" || { say "cannot create $PEERS: set VS_PEERS to a directory that can be written"; exit 1; }
if [ "$(id -u)" = 0 ] && [ ! -O "$PEERS" ]; then
  # Root is not to run what somebody else laid there.
  say "$PEERS belongs to $(stat -c %U "$PEERS"): remove it, or set VS_PEERS to a directory of root's"
  exit 1
fi
install_packages
if [ -w "$PEERS" ]; then
  install_qemu
  install_kernel
  build_initramfs
  install_tools
  install_faucet
elif [ ! -e "$PEERS/qemu10.ok" ] || [ ! -e "$PEERS/kernel.ok" ] || [ ! -e "$PEERS/initramfs-hostroot.cpio" ] ||
  [ ! -e "$PEERS/tools.ok" ] || [ ! -e "$PEERS/faucet/.complete" ]; then
  skip "QEMU 10 and its guest, controllers, Mininet: $PEERS is not complete and cannot be written; set VS_PEERS to a directory of yours"
fi
set_hugepages
mount_hugetlbfs
for line in "${SKIPPED[@]+"${SKIPPED[@]}"}"; do say "SKIPPED $line"; done
[ ${#SKIPPED[@]} -eq 0 ] && say "all there ($PEERS)"
exit 0
