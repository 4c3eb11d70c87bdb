/* vmxnet3_model.h: state of the model of vmxnet3, which its two files share.
 *
 * How it works: vmxnet3_model.c has registers, commands and the shared area, vmxnet3_engine.c rings and frames. It behaves
 * as QEMU's model where the two can be told apart (what a command without shared area costs, pending interrupts, errors of frames that do not fit), but uses all queues, and does what the real one does besides: flags of model_new choose it.
 *
 * Thread safety: the model's lock is held.
 */
#ifndef VMXNET3_MODEL_H
#define VMXNET3_MODEL_H

#include "model.h"
#include "vmxnet3_regs.h"

enum {                   /* flags */
       SKIPS = 1,        /* passes over a receive descriptor now and then, without a word */
       EMPTIES = 2,      /* ... or with a completion of no bytes */
       WANTS_PROD = 4,   /* goes by RXPROD */
       REFUSES = 8,      /* does not activate */
       OTHER_REV = 16,   /* knows revision 2 only */
       ACTIVE_MASK = 32, /* vectors do not mask themselves */
       SLOW = 64,        /* the last completion of a frame comes when the engine runs */
       EAGER = 128,      /* sends by generations alone, without a doorbell */
       QUEUES = 8,
};

struct ring {
    uint64_t iova;
    uint32_t size, next, gen; /* gen: 0 or 1 */
    uint32_t prod;            /* the driver's last word */
};

struct rxq {
    struct ring ring[2], comp;
    uint8_t vector;
    uint64_t stats[VMX_STATS], at;
    uint32_t turn;
    uint32_t held[4]; /* a last completion that is still to come */
    bool holds;
};

struct txq {
    struct ring ring, comp;
    uint8_t vector;
    uint64_t stats[VMX_STATS], at;
};

struct vmx_model {
    struct model m;
    uint64_t shared;
    uint32_t shared_low, last_command, mac_low;
    uint8_t mac_now[6];
    bool active, gone, auto_mask;
    uint8_t event_vector;
    uint32_t rx_mode, n_rxq, n_txq, max_parts, features;
    struct vmx_rss rss;
    bool masked[VMX_INTRS], pending[VMX_INTRS];
    struct rxq rxq[QUEUES];
    struct txq txq[QUEUES];
    uint8_t frame[MODEL_MAX_FRAME];
};

static inline struct vmx_model *of(struct model *m)
{
    return (struct vmx_model *)m;
}

void vmxnet3_trigger(struct vmx_model *v, unsigned vector);
void vmxnet3_fire_if_due(struct vmx_model *v, unsigned vector);
/* model_ops */
int vmxnet3_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
void vmxnet3_run(struct model *m);
void vmxnet3_corrupt(struct model *m);

#endif
