#!/bin/sh
# Makes the virtual environment with Ryu 4.34, the OpenFlow controller that is peer and oracle of our tests.
#
#   tests/peers/ryu_venv.sh [DIR]      DIR defaults to .venv-ryu in the project; made once, then left alone
#
# Ryu's setup uses a part of setuptools that went away in 68, so setuptools is pinned and pip's isolated build is off.
# eventlet 0.41.3 starts on Python 3.11; ryu-manager then needs one line before it: see ryu_manager.py beside this file.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
dir=${1:-$root/.venv-ryu}
done_mark=$dir/.complete

if [ -e "$done_mark" ] && "$dir/bin/python" -c 'import ryu' 2>/dev/null; then
    exit 0
fi
rm -rf "$dir"
"${PYTHON:-python3}" -m venv "$dir"
pip() { "$dir/bin/python" -m pip --disable-pip-version-check -q "$@"; }
pip install 'setuptools<67.3' wheel
pip install --no-build-isolation ryu==4.34
pip install eventlet==0.41.3
echo "*" >"$dir/.gitignore"
: >"$done_mark"
