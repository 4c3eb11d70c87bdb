"""What can be wrong with a front-end.

VhostError
├── ProtocolError   the byte stream cannot be trusted any more: the connection is closed
└── RequestError    one request is refused: NAK when it asked for a reply, else as ProtocolError
"""

from __future__ import annotations


class VhostError(Exception):
    """Something a front-end did; the message is one line for the log."""


class ProtocolError(VhostError):
    """The connection must be closed."""


class RequestError(VhostError):
    """The request is refused; nothing has changed."""
