/* igb_model.h: what the parts of the model of igb devices share: igb_model.c has registers, interrupts and the mailbox, igb_engine.c frames. */
#ifndef IGB_MODEL_H
#define IGB_MODEL_H

#include "igb_regs.h"
#include "model.h"

enum kind { K_82576, K_I350, K_I210, K_82576_VF, K_I350_VF, K_SERDES, K_MASK = 15 };
enum trouble {
    T_MUTE = 0x100,   /* the physical function never answers */
    T_REFUSE = 0x200, /* ... says no, but to a reset */
    T_NO_MAC = 0x400,
    T_RESET = 0x800,   /* the physical function is being reset and does not come back */
    T_GONE = 0x1000,   /* pulled out */
    T_CHATTY = 0x2000, /* the physical function says something of its own before each answer */
    T_STUCK = 0x4000,  /* queues do not start */
};
enum {
    QUEUES = 16,
    IGB_TEST = 0x3ff0,
    GPRC = 0x74,
    BPRC = 0x78,
    MPRC = 0x7c,
    GPTC = 0x80,
    GORC = 0x88,
    GOTC = 0x90
};

struct igb_model {
    struct model m;
    bool vf, spoken; /* spoken: the virtual function said that it was reset */
    uint32_t icr, ims, eicr, eims, eiac;
    uint32_t multicast, longest, low, high; /* virtual function: what was agreed; low, high: its address */
    uint16_t phy[32];
    struct {
        uint32_t context[2][3]; /* lengths, kind, sizes */
        uint32_t len, first_command, first_status;
        bool open, bad;
        uint8_t *frame;
    } tx[QUEUES];
};

static inline struct igb_model *igb_model_of(struct model *m)
{
    return (struct igb_model *)(void *)m;
}

static inline uint32_t get(const struct igb_model *g, uint32_t reg)
{
    return reg + 4 <= g->m.bar[0].size ? model_bar32(&g->m, 0, reg) : UINT32_MAX;
}

static inline void set(struct igb_model *g, uint32_t reg, uint32_t value)
{
    if (reg + 4 <= g->m.bar[0].size)
        model_set_bar32(&g->m, 0, reg, value);
}

static inline void count(struct igb_model *g, uint32_t reg, uint32_t n)
{
    set(g, reg, get(g, reg) + n);
}

static inline uint32_t rx_base(const struct igb_model *g, unsigned q)
{
    return g->vf ? IGB_VF_RX_BASE + q * IGB_VF_QUEUE_STRIDE : IGB_RX_BASE + q * IGB_QUEUE_STRIDE;
}

static inline uint32_t tx_base(const struct igb_model *g, unsigned q)
{
    return g->vf ? IGB_VF_TX_BASE + q * IGB_VF_QUEUE_STRIDE : IGB_TX_BASE + q * IGB_QUEUE_STRIDE;
}

static inline unsigned queues(const struct igb_model *g)
{
    return g->vf ? 2 : QUEUES;
}

/* Causes come: of the device as a whole (ICR) and of vectors (EICR). */
void igb_model_interrupt(struct igb_model *g, uint32_t causes, uint32_t ecauses);

/* The engine. */
int igb_model_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
void igb_model_run(struct model *m);
#endif
