"""Starts ryu-manager under the Python of `.venv-ryu` (made by ryu_venv.sh).

    .venv-ryu/bin/python tests/peers/ryu_manager.py --ofp-tcp-listen-port 6653 ryu.app.simple_switch_13

Ryu 4.34 imports a name that eventlet has dropped; it is only compared with, so any object will do.
"""

import sys

import eventlet.wsgi

eventlet.wsgi.ALREADY_HANDLED = object()

from ryu.cmd.manager import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main())
