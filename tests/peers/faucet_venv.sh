#!/bin/sh
# Makes the virtual environment with faucet 1.10.12 (controller) and gauge, for the interop tests.
#
#   tests/peers/faucet_venv.sh [DIR]    DIR defaults to $VS_PEERS/faucet; made once (half a minute to two), then left alone
set -eu
dir=${1:-${VS_PEERS:-/var/tmp/vswitchd-peers}/faucet}
done_mark=$dir/.complete

if [ -e "$done_mark" ] && "$dir/bin/python" -c 'import faucet' 2>/dev/null; then
    exit 0
fi
rm -rf "$dir"
"${PYTHON:-python3}" -m venv "$dir"
"$dir/bin/python" -m pip --disable-pip-version-check -qq install faucet==1.10.12
: >"$done_mark"
