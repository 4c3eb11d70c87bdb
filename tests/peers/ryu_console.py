"""An application for Ryu that does what a test says, over a unix socket: one JSON object a line each way.

It runs unmodified under ryu-manager; Ryu builds, sends, receives and reads all messages. VS_CONSOLE names the socket.

{"do": [EXPR, ...]}    send these messages and a barrier; all messages that came before its reply, as [class, xid, fields]
{"raw": HEX}           the same with bytes instead of messages
{"wait": CLASS}        the next message of that class that no answer has shown yet, waiting for it
"""

import json
import os
from pathlib import Path

import eventlet
from ryu.base import app_manager
from ryu.controller import ofp_event
from ryu.controller.handler import CONFIG_DISPATCHER, MAIN_DISPATCHER, set_ev_cls
from ryu.lib import hub
from ryu.ofproto import nx_actions, ofproto_v1_0, ofproto_v1_3

SECONDS = 60
EVENTS = list(ofp_event._OFP_MSG_EVENTS.values())


def told(msg):
    """Name, xid and fields of a message, bytes in base64 as Ryu writes them."""
    ((name, fields),) = msg.to_jsondict().items()
    if name == "OFPErrorMsg" and msg.code is not None:  # else an experimenter's
        fields["name"] = msg.datapath.ofproto.ofp_error_code_to_str(msg.type, msg.code).partition("(")[0]
    return [name, msg.xid, fields]


class Console(app_manager.RyuApp):
    """One test, one switch."""

    OFP_VERSIONS = tuple(int(v, 0) for v in os.environ.get("VS_CONSOLE_VERSIONS", "4").split(","))

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.datapath = None
        self.log = []
        self.news = hub.Event()
        path = Path(os.environ["VS_CONSOLE"])
        path.unlink(missing_ok=True)
        self.listener = eventlet.listen(str(path), family=eventlet.green.socket.AF_UNIX)
        hub.spawn(self.serve)

    @set_ev_cls(EVENTS, [CONFIG_DISPATCHER, MAIN_DISPATCHER])
    def came(self, ev):
        """Keep every message."""
        if ev.msg is not None:
            self.log.append(ev.msg)
        self.news.set()

    @set_ev_cls(ofp_event.EventOFPStateChange, [MAIN_DISPATCHER])
    def connected(self, ev):
        """Keep the newest connection."""
        self.datapath = ev.datapath
        self.news.set()

    def until(self, condition):
        """Wait; TimeoutError."""
        with eventlet.Timeout(SECONDS, TimeoutError("not in time")):
            while not (found := condition()):
                self.news.clear()
                self.news.wait(1)
        return found

    def serve(self):
        """Answer one test after the other."""
        while True:
            sock, _ = self.listener.accept()
            hub.spawn(self.talk, sock)

    def talk(self, sock):
        """Answer until the test goes away."""
        stream = sock.makefile("rwb")
        for line in stream:
            try:
                answer = self.answer(json.loads(line))
            except Exception as error:  # noqa: BLE001  # the test shows it
                answer = {"error": repr(error)}
            stream.write(json.dumps(answer, default=lambda data: data.hex()).encode() + b"\n")
            stream.flush()

    def answer(self, request):
        """Do what one line says."""
        dp = self.until(lambda: self.datapath)
        if "wait" in request:
            msg = self.until(lambda: next((m for m in self.log if type(m).__name__ == request["wait"]), None))
            self.log.remove(msg)
            return told(msg)
        if "raw" in request:
            dp.send(bytes.fromhex(request["raw"]))
        names = {"dp": dp, "p": dp.ofproto_parser, "o": dp.ofproto, "nx": nx_actions, "v13": ofproto_v1_3,
                 "v10": ofproto_v1_0}  # fmt: skip
        for expression in request.get("do", ()):
            dp.send_msg(eval(expression, names))  # the expressions stand in our own tests
        barrier = dp.ofproto_parser.OFPBarrierRequest(dp)
        dp.send_msg(barrier)
        end = self.until(lambda: next((m for m in self.log if m.xid == barrier.xid), None))
        at = self.log.index(end)
        seen, self.log = self.log[:at], self.log[at + 1 :]
        return [told(msg) for msg in seen]
