"""Ryu's OpenFlow 1.3 codec behind a pipe, under the Python of `.venv-ryu`: one JSON object a line each way.

{"build": "parser.OFPBarrierRequest(dp)"}  ->  {"hex": ...}     an expression of the test, serialized by Ryu
{"parse": HEX}                             ->  {"json": ...}    Ryu's dictionary of the message
"""

import json
import sys

from ryu.ofproto import ofproto_parser, ofproto_protocol, ofproto_v1_3, ofproto_v1_3_parser

DATAPATH = ofproto_protocol.ProtocolDesc(version=ofproto_v1_3.OFP_VERSION)
NAMES = {"parser": ofproto_v1_3_parser, "ofp": ofproto_v1_3, "dp": DATAPATH}


def answer(request):
    if "build" in request:
        msg = eval(request["build"], dict(NAMES))  # the expressions stand in our own test
        msg.xid = 1
        msg.serialize()
        return {"hex": bytes(msg.buf).hex()}
    data = bytes.fromhex(request["parse"])
    version, msg_type, msg_len, xid = ofproto_parser.header(data)
    msg = ofproto_parser.msg(DATAPATH, version, msg_type, msg_len, xid, data)
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
