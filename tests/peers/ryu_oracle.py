"""Ryu's OpenFlow codec behind a pipe, under the Python of `.venv-ryu`: one JSON object a line each way.

{"build": "parser.OFPBarrierRequest(dp)"}  ->  {"hex": ...}     an expression of the test, serialized by Ryu
{"parse": HEX}                             ->  {"json": ...}    Ryu's dictionary of the message
{"write": {"OFPHello": {...}}}             ->  {"hex": ...}     such a dictionary, serialized by Ryu

"version": 1 beside them for OpenFlow 1.0; else it is 1.3.
"""

import json
import sys

from ryu.ofproto import (
    ofproto_parser,
    ofproto_protocol,
    ofproto_v1_0,
    ofproto_v1_0_parser,
    ofproto_v1_3,
    ofproto_v1_3_parser,
)

NAMES = {
    ofp.OFP_VERSION: {
        "parser": parser,
        "ofp": ofp,
        "dp": ofproto_protocol.ProtocolDesc(version=ofp.OFP_VERSION),
    }
    for ofp, parser in ((ofproto_v1_0, ofproto_v1_0_parser), (ofproto_v1_3, ofproto_v1_3_parser))
}


def answer(request):
    names = NAMES[request.get("version", 4)]
    if "build" in request or "write" in request:
        if "write" in request:
            msg = ofproto_parser.ofp_msg_from_jsondict(names["dp"], request["write"])
        else:
            msg = eval(request["build"], dict(names))  # the expressions stand in our own test
        msg.xid = 1
        msg.serialize()
        return {"hex": bytes(msg.buf).hex()}
    data = bytes.fromhex(request["parse"])
    version, msg_type, msg_len, xid = ofproto_parser.header(data)
    msg = ofproto_parser.msg(names["dp"], version, msg_type, msg_len, xid, data)
    return {"json": None if msg is None else msg.to_jsondict()}


def main():
    for line in sys.stdin:
        try:
            reply = answer(json.loads(line))
        except Exception as error:  # noqa: BLE001  # the test shows it
            reply = {"error": repr(error)}
        print(json.dumps(reply, default=lambda text: text.decode().rstrip("\0")), flush=True)


if __name__ == "__main__":
    main()
