/* vhost_test.h: hooks that drive a port's vtable from Python: for tests and measurements, never used by the daemon.
 *
 * How it works: each call does what a core does in one turn of its loop: rx -> use -> rx_release, or tx. Frames are rows of `stride` bytes.
 *
 * Thread safety: the caller plays the core; one caller per queue.
 */
#ifndef VS_VHOST_TEST_H
#define VS_VHOST_TEST_H

#include "port.h"

/* Offload fields of struct vs_packet. */
struct vs_port_test_offload {
    uint8_t csum;
    uint8_t gso_type;
    uint16_t gso_size;
    uint16_t gso_hdr_len;
    uint16_t csum_start;
    uint16_t csum_offset;
};

/* Receive up to n (<= VS_BATCH) frames, copy them out, release. Returns how many. */
int vs_port_test_rx(struct vs_port *port, unsigned rxq, int n, uint8_t *frames, uint32_t stride,
                    uint32_t *lens, struct vs_port_counters *c);
/* Offload fields of packet i of the last vs_port_test_rx. */
void vs_port_test_offload_of(int i, struct vs_port_test_offload *o);
/* Send n frames; those of more than VS_HEAD_COPY bytes with a borrowed tail. `o`: offload fields, or NULL. */
void vs_port_test_tx(struct vs_port *port, unsigned core, const uint8_t *frames, uint32_t stride,
                     const uint32_t *lens, int n, const struct vs_port_test_offload *o,
                     struct vs_port_counters *c);
/* Forward from one port to another until a receive yields nothing or `rounds` are over. Returns the cycles it took; *packets counts. */
uint64_t vs_port_test_forward(struct vs_port *from, unsigned rxq, struct vs_port *to, unsigned core,
                              unsigned rounds, uint64_t *packets, struct vs_port_counters *c_from,
                              struct vs_port_counters *c_to);
int vs_port_test_arm(struct vs_port *port, unsigned rxq);
void vs_port_test_disarm(struct vs_port *port, unsigned rxq);
int vs_port_test_rx_fd(struct vs_port *port, unsigned rxq);
/* vs_watch_changes: how often cores were told to look at all their queues anew. */
uint64_t vs_port_test_watch_changes(void);

#endif
