/* null_switch.h: the least that a vhost-user switch can do: frames of port 0 go to port 1 and back, of 2 to 3, and so on.
 *
 * How it works: it trusts its drivers (so it is nothing but a measuring tool), looks at no frame, and copies each from the buffer that it was
 * sent in to the one that it is received in. With `blind` it does not even copy: all that is left is rings. Whatever rate the generator
 * reaches with it, no switch on the same core can ask for more.
 * It can do wrong on purpose: lose, change or swap every Kth frame, so that tests see that the generator notices. Split rings only.
 *
 * Thread safety: one thread, one process.
 */
#ifndef LOAD_NULL_SWITCH_H
#define LOAD_NULL_SWITCH_H

#include <stdbool.h>
#include <stdint.h>

struct load_null {
    uint32_t drop, corrupt, swap; /* every how many frames; 0: never */
    bool blind;
};

/* Listen at the sockets, an even number, and forward until all have left; an exit status. */
int load_null_run(const struct load_null *how, unsigned core, const char *const *paths, uint32_t n);

#endif
