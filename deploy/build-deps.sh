#!/bin/sh
# What the build needs from Debian: Python 3.11 or newer with venv and headers, a C compiler. Root: install what is
# missing. Anybody else: say exactly what to install, and end with 1. Prints nothing when all is there.
set -u
python=${PYTHON:-python3}
missing=""
need() { missing="$missing $1"; }

if ! command -v "$python" >/dev/null 2>&1; then
  need python3; need python3-venv; need python3-dev
else
  "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "make: $python is $("$python" -V 2>&1); Python 3.11 or newer is needed (set PYTHON=...)" >&2
    exit 1
  }
  "$python" -c 'import venv, ensurepip' 2>/dev/null || need python3-venv
  "$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(sysconfig.get_paths()["include"] + "/Python.h"))' ||
    need python3-dev
fi
if ! command -v "${CC:-cc}" >/dev/null 2>&1; then
  need gcc; need libc6-dev
elif ! printf '#include <stdio.h>\n' | ${CC:-cc} -E - >/dev/null 2>&1; then
  need libc6-dev
fi
[ -z "$missing" ] && exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
  echo "make: missing on this machine; run: sudo apt-get install -y --no-install-recommends$missing" >&2
  exit 1
fi
echo "make: installing$missing"
apt-get -qq update || true
# shellcheck disable=SC2086 - a list of package names
if ! DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 install -y --no-install-recommends $missing >/dev/null; then
  echo "make: apt-get could not install$missing" >&2
  exit 1
fi
