/* igb_vf.c: virtual functions of the igb driver: the mailbox to the physical one, and what is asked there; see igb.h.
 *
 * Mailbox, 7.10.2.9 and 8.26: 16 words and a register. Who wants to write takes the buffer (VFU, PFU), writes, and says so (REQ, STS); the other end
 * says that it has read (ACK). Three bits of the register clear when it is read, so they are kept in igb->mailbox until used. The physical
 * function's driver is another's: each step has a limit, and whatever it answers is only compared.
 */
#include "igb.h"

#include <errno.h>
#include <sys/random.h>

enum {
    STEP_MS =
        500, /* one step of an exchange. The other end answers in its interrupt: a kernel takes microseconds, one in emulation more */
    POLL_US = 500,
    LOCK_MS = 50,
    RESET_US = 1000,
    DISABLE_MS = 10,
};

/* The mailbox's bits, also those that an earlier look cleared. */
static uint32_t mailbox(struct igb *igb)
{
    uint32_t v = vs_igb_read(igb, IGB_V2PMAILBOX);
    if (v == UINT32_MAX)
        return 0; /* gone */
    v |= igb->mailbox;
    igb->mailbox = v & IGB_MBX_CLEARED;
    return v;
}

/* Wait for a bit of the three, and use it up. */
static int wait_for(struct igb *igb, uint32_t bit)
{
    for (unsigned i = 0; i <= STEP_MS * 1000 / POLL_US; i++) {
        if (mailbox(igb) & bit) {
            igb->mailbox &= ~bit;
            return 0;
        }
        vs_nic_sleep_us(POLL_US);
    }
    return -ETIMEDOUT;
}

static int take_buffer(struct igb *igb)
{
    for (unsigned i = 0; i <= LOCK_MS * 1000 / POLL_US; i++) {
        vs_igb_write(igb, IGB_V2PMAILBOX, IGB_MBX_VFU);
        if (mailbox(igb) & IGB_MBX_VFU)
            return 0;
        vs_nic_sleep_us(POLL_US);
    }
    return -ETIMEDOUT;
}

static int silent(struct igb *igb)
{
    return vs_nic_fail(&igb->nic, ETIMEDOUT,
                       "the physical function does not answer: bring its interface up (ip link set PF up)");
}

/* Say something and hear the answer, three words of it. 0: agreed, -EPERM: refused, -ETIMEDOUT with an error: silence. */
static int ask(struct igb *igb, uint32_t *message, unsigned words)
{
    uint32_t asked = message[0] & 0xffff;
    if (take_buffer(igb) < 0)
        return silent(igb);
    igb->mailbox = 0; /* of an earlier exchange */
    for (unsigned i = 0; i < words; i++)
        vs_igb_write(igb, IGB_VMBMEM + 4 * i, message[i]);
    vs_igb_write(igb, IGB_V2PMAILBOX, IGB_MBX_REQ); /* and gives the buffer back */
    if (wait_for(igb, IGB_MBX_PFACK) < 0)
        return silent(igb);
    for (unsigned tries = 0; tries < 3; tries++) { /* it may have something of its own to say in between */
        if (wait_for(igb, IGB_MBX_PFSTS) < 0 || take_buffer(igb) < 0)
            return silent(igb);
        for (unsigned i = 0; i < 3; i++)
            message[i] = vs_igb_read(igb, IGB_VMBMEM + 4 * i);
        vs_igb_write(igb, IGB_V2PMAILBOX, IGB_MBX_ACK);
        if ((message[0] & 0xffff) == asked)
            return message[0] & IGB_MSG_ACK ? 0 : -EPERM;
    }
    return silent(igb);
}

static void put_mac(uint32_t *message, const uint8_t *mac)
{
    message[1] = (uint32_t)mac[3] << 24 | (uint32_t)mac[2] << 16 | (uint32_t)mac[1] << 8 | mac[0];
    message[2] = (uint32_t)mac[5] << 8 | mac[4];
}

/* Reset, wait for a physical function that is being reset itself, and tell it, 4.6.11. Its answer is in the message. */
static int say_reset(struct igb *igb, uint32_t *message)
{
    vs_igb_write(igb, IGB_EIMC, UINT32_MAX);
    vs_igb_write(igb, IGB_CTRL, vs_igb_read(igb, IGB_CTRL) | IGB_CTRL_RST);
    vs_nic_sleep_us(RESET_US);
    for (unsigned i = 0; mailbox(igb) & IGB_MBX_RSTI; i++) {
        if (i == STEP_MS * 1000 / POLL_US)
            return silent(igb);
        vs_nic_sleep_us(POLL_US);
    }
    *message = IGB_VF_RESET;
    return ask(igb, message, 1);
}

/* Get our address. A physical function whose operator gave us none answers so, or refuses: then we make one and ask for it at start. */
static int vf_reset(struct igb *igb)
{
    uint32_t message[3] = {0};
    int rc = say_reset(igb, message);
    if (rc == -ETIMEDOUT) /* its own message may have crossed ours and cost it: once more, from the start */
        rc = say_reset(igb, message);
    if (rc == -ETIMEDOUT)
        return rc;
    uint8_t *mac = igb->nic.info.mac, before[6];
    memcpy(before, mac, sizeof before);
    for (unsigned i = 0; i < 6; i++)
        mac[i] = (uint8_t)(i < 4 ? message[1] >> 8 * i : message[2] >> 8 * (i - 4));
    static const uint8_t none[6];
    igb->own_mac = rc < 0 || (mac[0] & 1) || memcmp(mac, none, sizeof none) == 0;
    if (igb->own_mac && memcmp(before, none, sizeof none) != 0) {
        memcpy(mac, before, sizeof before); /* as before this start */
    } else if (igb->own_mac) {
        if (getrandom(mac, 6, 0) != 6)
            return vs_nic_fail(&igb->nic, EIO,
                               "the physical function gave no MAC address: ip link set PF vf N mac ADDRESS");
        mac[0] = (uint8_t)((mac[0] & 0xfc) | 2); /* one station, locally administered */
    }
    igb->counted[0] = vs_igb_read(igb, IGB_VFGPRC);
    igb->counted[1] = vs_igb_read(igb, IGB_VFGORC);
    igb->counted[2] = vs_igb_read(igb, IGB_VFGPTC);
    igb->counted[3] = vs_igb_read(igb, IGB_VFGOTC);
    igb->counted[4] = vs_igb_read(igb, IGB_VFMPRC);
    return 0;
}

static int vf_configure(struct igb *igb)
{
    struct vs_nic *nic = &igb->nic;
    const struct vs_nic_config *c = &nic->config;
    static const uint8_t none[6];
    uint32_t message[3] = {IGB_VF_SET_LPE, nic->max_frame + 4};
    int rc = ask(igb, message, 2);
    if (rc == -EPERM && c->mtu > 1500)
        return vs_nic_fail(nic, EPERM, "the physical function refuses an MTU of %u", c->mtu);
    if (rc == -ETIMEDOUT)
        return rc;
    const uint8_t *mac = memcmp(c->mac, none, 6) != 0 ? c->mac : nic->info.mac;
    if (igb->own_mac || memcmp(mac, nic->info.mac, 6) != 0) {
        message[0] = IGB_VF_SET_MAC;
        put_mac(message, mac);
        rc = ask(igb, message, 3);
        if (rc == -EPERM)
            return vs_nic_fail(
                nic, EPERM,
                "the physical function refuses another MAC address: ip link set PF vf N mac ADDRESS");
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* All multicast is what the physical function may give; frames to others' addresses it never does. */
static int vf_set_rx_mode(struct igb *igb, uint32_t mode)
{
    bool multicast = mode & (VS_NIC_RX_PROMISC | VS_NIC_RX_ALLMULTI);
    uint32_t message[3] = {IGB_VF_SET_PROMISC | (multicast ? IGB_VF_PROMISC_MULTICAST : 0)};
    int rc = ask(igb, message, 1);
    if (rc == -EPERM)
        vs_nic_fail(&igb->nic, EOPNOTSUPP, "the physical function refuses multicast promiscuous mode");
    return rc < 0 || (mode & VS_NIC_RX_PROMISC) ? -EOPNOTSUPP : 0;
}

static void vf_run(struct igb *igb)
{
    vf_set_rx_mode(igb, igb->nic.config.rx_mode); /* as far as it goes; nothing to undo when it does not */
}

static void vf_stop(struct igb *igb)
{
    vs_igb_write(igb, IGB_EIMC, UINT32_MAX);
    vs_igb_queues_stop(igb);
    if (vs_igb_gone(igb))
        return;
    vs_igb_write(igb, IGB_CTRL, vs_igb_read(igb, IGB_CTRL) | IGB_CTRL_RST);
    vs_nic_sleep_us(RESET_US);
}

/* A physical function that was reset took our queues with it: the port begins anew. What else it says is about the link. */
static int vf_irq(struct igb *igb)
{
    uint32_t v = mailbox(igb);
    if (v & (IGB_MBX_RSTI | IGB_MBX_RSTD)) {
        vs_nic_fail(&igb->nic, EIO, "the physical function was reset");
        return VS_NIC_IRQ_DEAD;
    }
    if (!(v & IGB_MBX_PFSTS))
        return 0;
    igb->mailbox &= ~(uint32_t)IGB_MBX_PFSTS;
    vs_igb_write(igb, IGB_V2PMAILBOX, IGB_MBX_ACK);
    return VS_NIC_IRQ_LINK;
}

static void vf_link(struct igb *igb, struct vs_nic_link *link)
{
    static const uint32_t speeds[4] = {10, 100, 1000, 1000};
    uint32_t status = vs_igb_read(igb, IGB_STATUS);
    link->up = (status & IGB_STATUS_LU) != 0;
    link->full_duplex = link->up && (status & IGB_STATUS_FD);
    link->speed_mbps = link->up ? speeds[status >> IGB_STATUS_SPEED_SHIFT & 3] : 0;
}

/* 32 bits that wrap and do not clear, 8.26. */
static void vf_stats(struct igb *igb, struct vs_nic_stats *stats)
{
    static const uint16_t regs[5] = {IGB_VFGPRC, IGB_VFGORC, IGB_VFGPTC, IGB_VFGOTC, IGB_VFMPRC};
    uint64_t *const fields[5] = {&stats->rx_packets, &stats->rx_bytes, &stats->tx_packets, &stats->tx_bytes,
                                 &stats->rx_multicast};
    for (unsigned i = 0; i < 5; i++) {
        uint32_t now = vs_igb_read(igb, regs[i]);
        *fields[i] += (uint32_t)(now - igb->counted[i]);
        igb->counted[i] = now;
    }
}

const struct igb_ops vs_igb_vf_ops = {.reset = vf_reset,
                                      .configure = vf_configure,
                                      .run = vf_run,
                                      .stop = vf_stop,
                                      .irq = vf_irq,
                                      .link = vf_link,
                                      .stats = vf_stats,
                                      .set_rx_mode = vf_set_rx_mode};
