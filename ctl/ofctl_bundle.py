"""Flow- and group-mods sent one by one, or with --bundle as a bundle: all of them or none, seen by packets at once."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from vswitchd.ofproto.bundle_messages import BundleControl
from vswitchd.ofproto.codec import encode
from vswitchd.ofproto.constants import OFP_VERSION_13, OFPBCT, OFPBF, OFPT, ONF_EXPERIMENTER, ONFT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ctl.ofctl_client import Client
    from ctl.ofctl_options import Options
    from vswitchd.ofproto.messages import Error

_ADD = struct.Struct("!BBHIIIIxxH")
_FLAGS = int(OFPBF.ATOMIC | OFPBF.ORDERED)
_ID = 1  # numbers are the connection's own, and ours makes one bundle


def carry_out(client: Client, encoded: Iterable[bytes], options: Options) -> list[tuple[int, Error]]:
    """Send encoded messages as the options say; return the errors by xid. Of a bundle with errors nothing is done."""
    if not options.bundle:
        return client.pipeline(encoded)
    ends = {client.new_xids(): kind for kind in (OFPBCT.OPEN_REQUEST, OFPBCT.COMMIT_REQUEST)}
    errors = client.pipeline(_wrapped(encoded, *ends))
    own = [found for found in errors if found[0] not in ends]
    return own or errors


def _wrapped(encoded: Iterable[bytes], opening: int, commit: int) -> Iterator[bytes]:
    yield encode(BundleControl(_ID, OFPBCT.OPEN_REQUEST, _FLAGS), opening)
    for data in encoded:
        xid = int.from_bytes(data[4:8], "big")
        length = _ADD.size + len(data)
        yield _ADD.pack(
            OFP_VERSION_13, OFPT.EXPERIMENTER, length, xid, ONF_EXPERIMENTER, ONFT.BUNDLE_ADD, _ID, _FLAGS
        ) + data  # fmt: skip
    yield encode(BundleControl(_ID, OFPBCT.COMMIT_REQUEST, _FLAGS), commit)
