/* ixgbe_model.h: the 82599 and, by flag, X540 and X550, from the 82599 datasheet (sections in the text); see model.h.
 *
 * How it works: registers do what the datasheet says of them (ixgbe_model.c), and so does the engine behind the descriptors (ixgbe_engine.c). An
 * order that the datasheet forbids (4.6 initialization, 8.2.3 registers, 7.2.3 descriptors) is noted: a text, and one more fault. A test
 * that ends without faults has seen a driver that keeps the rules. Nothing is taken from the driver: offsets and bits are written down
 * here once more. "Done" bits come some reads late, so that a driver that does not wait is found out.
 *
 * Thread safety: the model's lock is held. */
#ifndef IXGBE_MODEL_H
#define IXGBE_MODEL_H

#include "model.h"

#include <string.h>

enum { QUEUES = 16, NOTES = 8, LATE = 2, PIECE = 15872, FW_TURNS = 5 };

/* flags of model_new: the device, the link, and what ails it. */
enum {
    F_X540 = 1,
    F_X550 = 2,
    F_SPEED_SHIFT = 4, /* of LINKS, 0: 10G */
    F_NON_STD = 1 << 6,
    F_SEMAPHORE_LEFT = 1 << 7, /* by a driver that was killed */
    F_FIRMWARE_BUSY = 1 << 8,  /* for a while */
    F_FIRMWARE_HOLDS = 1 << 9, /* for ever */
    F_MASTER_HANGS = 1 << 10,  /* until it was flushed and reset twice */
    F_NO_EEPROM = 1 << 11,
    F_NO_DMA = 1 << 12,
    F_NO_ENABLE = 1 << 13, /* queues do not start */
};

enum { /* 8.2.3 */
       CTRL = 0x0,
       STATUS = 0x8,
       ESDP = 0x20,
       EEC = 0x10010,
       SWSM = 0x10140,
       SYNC = 0x10160,
       GCR_EXT = 0x11050,
       EICR = 0x800,
       EICS = 0x808,
       EIAC = 0x810,
       EIMS = 0x880,
       EIMC = 0x888,
       EIAM = 0x890,
       GPIE = 0x898,
       IVAR = 0x900,
       IVAR_MISC = 0xa00,
       EIMC_EX = 0xab0,
       RDRXCTL = 0x2f00,
       RXCTRL = 0x3000,
       FCRTL = 0x3220,
       FCRTH = 0x3260,
       RXPBSIZE = 0x3c00,
       FCCFG = 0x3d00,
       HLREG0 = 0x4240,
       MAXFRS = 0x4268,
       AUTOC = 0x42a0,
       LINKS = 0x42a4,
       RTTDCS = 0x4900,
       DMATXCTL = 0x4a80,
       FCTRL = 0x5080,
       VLNCTRL = 0x5088,
       MTQC = 0x8120,
       SECRXCTRL = 0x8d00,
       SECRXSTAT = 0x8d04,
       RAL = 0xa200,
       TXPBSIZE = 0xcc00,
       RETA = 0xeb00,
       RSSRK = 0xeb80,
       MRQC = 0xec80,
       ERETA = 0xee80,
       QPRDC = 0x1430,
       CRCERRS = 0x4000,
       GPRC = 0x4074,
       BPRC = 0x4078,
       MPRC = 0x407c,
       GPTC = 0x4080,
       GORC = 0x4088,
       GOTC = 0x4090,
       ROC = 0x40ac,
}; /* clang-format keeps this table as it can */

enum { /* of a queue: 8.2.3.8, 8.2.3.9 */
       BAL = 0x00,
       BAH = 0x04,
       LEN = 0x08,
       DCA = 0x0c,
       HEAD = 0x10,
       SRRCTL = 0x14,
       TAIL = 0x18,
       DCTL = 0x28,
       RSCCTL = 0x2c,
       ENABLE = 1 << 25,
};

struct queue {
    uint32_t head;
    unsigned on_late, off_late; /* reads until ENABLE shows what was written */
    bool on, seen;              /* seen: the driver read that it is enabled */
};

struct ixgbe_model {
    struct model m;
    bool x540, x550, gone;
    char note[NOTES][96];
    unsigned n_notes;
    unsigned reset_late, eeprom_late, dma_late, master_late, rx_late, resets, firmware_turns;
    bool eeprom_seen, dma_seen, rx_ready_seen, flushed;
    uint32_t eicr, eims, esdp, swsm, sync, autoc_writes;
    struct queue rx[QUEUES], tx[QUEUES];
    uint32_t context[QUEUES][2][4];
    bool has_context[QUEUES][2];
    uint8_t frame[MODEL_MAX_FRAME];
};

static inline struct ixgbe_model *of(struct model *m)
{
    return (struct ixgbe_model *)m;
}

static inline uint32_t reg(struct model *m, uint32_t at)
{
    return model_bar32(m, 0, at);
}

static inline void set(struct model *m, uint32_t at, uint32_t v)
{
    model_set_bar32(m, 0, at, v);
}

static inline void add(struct model *m, uint32_t at, uint64_t n, bool wide)
{
    uint64_t v = reg(m, at) + (wide ? (uint64_t)reg(m, at + 4) << 32 : 0) + n;
    set(m, at, (uint32_t)v);
    if (wide)
        set(m, at + 4, (uint32_t)(v >> 32));
}

static inline void wrong(struct model *m, const char *what)
{
    struct ixgbe_model *d = of(m);
    m->faults++;
    if (d->n_notes < NOTES)
        strncpy(d->note[d->n_notes++], what, sizeof d->note[0] - 1);
}

static inline void check(struct model *m, bool right, const char *what)
{
    if (!right)
        wrong(m, what);
}

void ixgbe_cause(struct model *m, uint32_t bits);
int ixgbe_receive(struct model *m, const uint8_t *frame, uint32_t len, const struct model_meta *meta);
void ixgbe_run(struct model *m);
void ixgbe_corrupt(struct model *m);

static inline uint32_t ring_size(struct model *m, uint32_t base)
{
    return reg(m, base + LEN) / 16;
}
#endif
