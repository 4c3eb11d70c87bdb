"""A switch of our codec alone, for ovs-ofctl to talk to: it answers what is asked and keeps what it got."""

import socket
import threading

from vswitchd.ofproto.codec import decode, encode, frame
from vswitchd.ofproto.messages import (
    BarrierReply,
    BarrierRequest,
    EchoReply,
    EchoRequest,
    FeaturesReply,
    FeaturesRequest,
    FlowMod,
    GetConfigReply,
    GetConfigRequest,
    Hello,
)
from vswitchd.ofproto.multipart import (
    AggregateStatsReply,
    AggregateStatsRequest,
    FlowStatsReply,
    FlowStatsRequest,
    PortDescReply,
    PortDescRequest,
    TableFeaturesReply,
    TableFeaturesRequest,
    TableStatsReply,
    TableStatsRequest,
)
from vswitchd.ofproto.stats import TableStats
from vswitchd.ofproto.structures import Port
from vswitchd.ofproto.tablefeatures import TableFeatures, TableProperty

# ovs-ofctl wants all of these properties, but their lists may be empty.
FEATURES = TableFeatures(
    0, "t0", properties=tuple(TableProperty(kind) for kind in (0, 2, 4, 6, 8, 10, 12, 14))
)


class FakeSwitch:
    """A unix socket that answers ovs-ofctl with our codec and keeps the flow-mods it got."""

    def __init__(self, path, version=4):
        self.version = version
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        self.got = []
        self.seen = []
        self.wires = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        """Take one connection after the other until the listener is shut."""
        while True:
            try:
                sock, _ = self.listener.accept()
            except OSError:
                return
            self.talk(sock)

    def stop(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(30)
        self.listener.close()

    def talk(self, sock):
        with sock:
            sock.sendall(encode(Hello(frozenset({self.version}), self.version), 1))
            buffer = b""
            while chunk := sock.recv(65536):
                buffer += chunk
                while (length := frame(buffer)) is not None:
                    wire, buffer = buffer[:length], buffer[length:]
                    for answer in self.answer(wire):
                        sock.sendall(answer)

    def answer(self, wire):
        xid, msg = decode(wire, self.version)
        self.seen.append(msg)
        if isinstance(msg, FlowMod):
            self.got.append(msg)
            self.wires.append(wire)
        elif isinstance(msg, BarrierRequest):
            yield encode(BarrierReply(), xid, self.version)
        elif isinstance(msg, EchoRequest):
            yield encode(EchoReply(msg.data), xid)
        elif isinstance(msg, FeaturesRequest):
            yield encode(FeaturesReply(1, 0, 254), xid, self.version)
        elif isinstance(msg, TableStatsRequest):
            yield encode(TableStatsReply((TableStats(0, name="t0"),)), xid, self.version)
        elif isinstance(msg, GetConfigRequest):
            yield encode(GetConfigReply(), xid)
        elif isinstance(msg, FlowStatsRequest):
            yield encode(FlowStatsReply(), xid)
        elif isinstance(msg, AggregateStatsRequest):
            yield encode(AggregateStatsReply(), xid)
        elif isinstance(msg, PortDescRequest):
            yield encode(PortDescReply((Port(1, name="p1"),)), xid)
        elif isinstance(msg, TableFeaturesRequest):
            yield encode(TableFeaturesReply((FEATURES,)), xid)
