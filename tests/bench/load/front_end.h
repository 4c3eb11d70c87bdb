/* front_end.h: bringing a port up: shared memory, the rings in it, and the vhost-user conversation of a driver.
 *
 * How it works: each port has one memory file: its rings, then the receive buffers, then those to send from. Huge pages are taken when they
 * are there. Buffers are an odd number of cache lines apart, so that they use all sets of a cache. A port without a
 * stream costs no memory for buffers (without huge pages), so hundreds of idle ports are cheap.
 *
 * Thread safety: the control thread, before the worker starts and after it ended.
 */
#ifndef LOAD_FRONT_END_H
#define LOAD_FRONT_END_H

#include "worker.h"

struct load_options {
    unsigned core;
    uint32_t ring, pieces, max_frame, rx_buffer;
    bool packed, mergeable, tso, in_order, huge;
};

/* Make the rings and talk to the back end at p->socket; 0, or -1 with *why. */
int load_port_open(struct load_port *p, const struct load_options *o, const char **why);
/* Have all memory of the port there before it is used: first touches would be measured, else. */
void load_port_populate(struct load_port *p);
/* Stop the rings and leave. */
void load_port_close(struct load_port *p);

#endif
