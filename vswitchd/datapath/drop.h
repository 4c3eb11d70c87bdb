/* drop.h: every reason for which a packet can end. One table makes the C enum, the CLI text and the Prometheus label.
 *
 * A receive reason ends a packet that was received: per port, received = forwarded + the sum of its receive reasons.
 * A transmit reason ends a copy that was handed to a port: offered = sent + the sum of its transmit reasons.
 * Add a row here and nowhere else.
 *
 * Thread safety: constants only.
 */
#ifndef VS_DROP_H
#define VS_DROP_H

#include "base.h"

/* X(enum suffix, label, help) */
#define VS_RX_DROPS(X)                                                                                       \
    X(RX_RUNT, "runt", "shorter than an Ethernet header")                                                    \
    X(RX_OVERSIZE, "oversize", "longer than the port's buffers or the chain limit")                          \
    X(RX_BAD_DESC, "bad_descriptor", "a descriptor chain of the guest that was refused")                     \
    X(RX_BAD_OFFLOAD, "bad_offload", "an offload header that contradicts the packet")                        \
    X(RX_DEVICE, "device_error", "the NIC reports an error in the frame, or says of it what cannot be")      \
    X(RX_QUEUE_DISABLED, "queue_disabled", "sent on a queue that is started but disabled")                   \
    X(RX_PORT_DOWN, "port_down", "the port is configured OFPPC_PORT_DOWN")                                   \
    X(RX_NO_RECV, "no_recv", "the port is configured OFPPC_NO_RECV")                                         \
    X(RX_NO_BRIDGE, "no_bridge", "the port is not attached to a bridge")                                     \
    X(RX_TABLE_MISS, "table_miss", "no rule matched and no table-miss rule takes the packet")                \
    X(RX_ACTION_DROP, "action_drop", "the rules that matched have no output")                                \
    X(RX_TTL, "ttl_expired", "dec_ttl met a TTL of 1 or 0")                                                  \
    X(RX_BAD_ACTION, "bad_action", "an action does not fit the packet (set-field on a missing header)")      \
    X(RX_NO_OUTPUT, "no_output_port", "the output port does not exist or is the input port")                 \
    X(RX_EGRESS_BLOCKED, "egress_blocked", "every output port is configured down or OFPPC_NO_FWD")           \
    X(RX_NO_GROUP, "no_group", "the group does not exist or has no bucket")                                  \
    X(RX_NO_BUCKET, "no_live_bucket", "no bucket of the group is live, or none has a weight")                \
    X(RX_VLAN, "vlan_not_allowed", "NORMAL: the VLAN is not allowed on the input port")                      \
    X(RX_RESERVED_MAC, "reserved_mac", "NORMAL: link-local protocol address (01:80:c2:00:00:0x)")            \
    X(RX_SAME_PORT, "same_port", "NORMAL: the destination is behind the input port")                         \
    X(RX_NO_MEMBER, "no_member", "NORMAL or FLOOD: no other port takes the packet")                          \
    X(RX_PUNT_FULL, "punt_full", "the ring to the controller is full")                                       \
    X(RX_NO_PACKET_IN, "no_packet_in", "the port is configured OFPPC_NO_PACKET_IN")                          \
    X(RX_NO_CLONE, "no_clone", "no buffer for another copy of the packet")                                   \
    X(RX_PATCH_LOOP, "patch_loop", "crossed more bridges than allowed")                                      \
    X(RX_RESUBMIT_LOOP, "pipeline_limit", "the pipeline yields more actions than allowed")                   \
    X(RX_FRAGMENT, "fragment", "IP fragment while fragments are configured to be dropped")                   \
    X(RX_METER, "meter", "over the rate of a drop band of a meter")                                          \
    X(RX_POLICED, "policed", "over the rate at which the port's packets are taken (ingress policing)")

#define VS_TX_DROPS(X)                                                                                       \
    X(TX_NOT_READY, "not_ready", "no peer is connected, or the queue is not started or enabled")             \
    X(TX_RING_FULL, "ring_full", "the peer gave no receive buffers in time")                                 \
    X(TX_BAD_DESC, "bad_descriptor", "a receive buffer of the guest that was refused")                       \
    X(TX_TOO_LONG, "mtu_exceeded", "longer than the MTU of the port or the peer's buffers")                  \
    X(TX_LINK_DOWN, "link_down", "the link or interface is down")                                            \
    X(TX_WOULD_BLOCK, "would_block", "the kernel's queue is full")                                           \
    X(TX_ERROR, "error", "the kernel or device refused the packet")                                          \
    X(TX_OFFLOAD, "offload_unsupported", "an offload that neither the port nor software can complete")       \
    X(TX_NO_PEER, "no_peer", "a patch port without its peer")                                                \
    X(TX_NO_TRANSLATION, "no_translation",                                                                   \
      "too many packets wait for an answer of the guest's IOMMU already")                                    \
    X(TX_QUEUE_FULL, "queue_full", "the shaped queue has no room")                                           \
    X(TX_QUEUE_GONE, "queue_removed", "waited in a queue that was removed")                                  \
    X(TX_POLICED, "policed", "over the rate of an egress policer")

enum vs_drop {
#define VS_DROP_ROW(name, label, help) VS_DROP_##name,
    VS_RX_DROPS(VS_DROP_ROW) VS_N_RX_DROPS,
    VS_DROP_TX_FIRST_ = VS_N_RX_DROPS - 1, /* so that transmit reasons follow without a gap */
    VS_TX_DROPS(VS_DROP_ROW) VS_N_DROPS,
#undef VS_DROP_ROW
};

const char *vs_drop_label(int reason); /* NULL when out of range */
const char *vs_drop_help(int reason);

#endif
