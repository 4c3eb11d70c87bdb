/* virtio_ctrl.c: commands to a virtio network device (VIRTIO 1.2, 5.1.6.5); see virtio_net.h.
 *
 * How it works: one command at a time, in two descriptors: what we say, and a byte for the answer. The control thread waits for it.
 * A device that does not answer in time may write that byte at any time, so nothing is asked of it any more.
 */
#include <errno.h>

#include "virtio_net.h"

enum { ANSWER_MS = 1000 };

static void offer_split(struct vs_virtio_ctrl *k, const struct vs_virtio_desc d[2])
{
    struct vs_virtio_desc *ring = (void *)k->ring;
    struct vs_virtio_avail *avail = vs_virtio_avail(k->ring, k->size);
    ring[0] = (struct vs_virtio_desc){.addr = d[0].addr,
                                      .rest = d[0].rest | (uint64_t)DESC_F_NEXT << 32 | UINT64_C(1) << 48};
    ring[1] = (struct vs_virtio_desc){.addr = d[1].addr, .rest = d[1].rest | (uint64_t)DESC_F_WRITE << 32};
    avail->flags = AVAIL_F_NO_INTERRUPT;
    avail->ring[k->position & (k->size - 1)] = 0;
    vs_dma_wmb();
    *(volatile uint16_t *)&avail->idx = (uint16_t)(k->position + 1);
}

static void offer_packed(struct vs_virtio_ctrl *k, const struct vs_virtio_desc d[2])
{
    struct vs_virtio_desc *ring = (void *)k->ring;
    vs_virtio_driver_event(k->ring, k->size)->flags = EVENT_F_DISABLE;
    for (int i = 1; i >= 0; i--) { /* the first one last */
        uint16_t position = (uint16_t)(k->position + i);
        uint64_t flags = vs_virtio_avail_flags(position, k->size);
        flags |= i == 0 ? DESC_F_NEXT : DESC_F_WRITE;
        struct vs_virtio_desc *at = &ring[position & (k->size - 1)];
        at->addr = d[i].addr;
        vs_dma_wmb();
        *(volatile uint64_t *)&at->rest = d[i].rest | flags << 48;
    }
}

static bool answered(const struct vs_virtio_net *v)
{
    const struct vs_virtio_ctrl *k = &v->ctrl;
    if (!v->packed)
        return *(volatile uint16_t *)&vs_virtio_used(k->ring, k->size)->idx == (uint16_t)(k->position + 1);
    const struct vs_virtio_desc *at = (const void *)(k->ring + 16 * (k->position & (k->size - 1)));
    uint64_t rest = *(const volatile uint64_t *)&at->rest;
    return (rest >> 48 & (DESC_F_AVAIL | DESC_F_USED)) == vs_virtio_used_flags(k->position, k->size);
}

static int command(struct vs_virtio_net *v, uint8_t class, uint8_t cmd, const void *data, uint32_t len)
{
    struct vs_virtio_ctrl *k = &v->ctrl;
    struct vs_nic *nic = &v->nic;
    uint8_t *say = nic->shared + VIRTIO_CTRL_COMMAND;
    volatile uint8_t *answer = nic->shared + VIRTIO_CTRL_ANSWER;
    if (k->size == 0)
        return vs_nic_fail(nic, EOPNOTSUPP, "the device has no control queue that answers");
    say[0] = class;
    say[1] = cmd;
    memcpy(say + 2, data, len);
    *answer = 0xff;
    const struct vs_virtio_desc d[2] = {
        {.addr = nic->shared_iova + VIRTIO_CTRL_COMMAND, .rest = len + 2},
        {.addr = nic->shared_iova + VIRTIO_CTRL_ANSWER, .rest = 1},
    };
    if (v->packed)
        offer_packed(k, d);
    else
        offer_split(k, d);
    if (vs_virtio_wants_notify(k->ring, k->size, v->packed))
        vs_virtio_notify(nic, k->doorbell, k->index);
    for (unsigned i = 0; !answered(v); i++) {
        if (i == ANSWER_MS) {
            k->size = 0;
            return vs_nic_fail(nic, ETIMEDOUT, "the device does not answer on its control queue");
        }
        vs_nic_sleep_us(i < 10 ? 100 : 1000);
    }
    vs_dma_rmb();
    k->position = (uint16_t)(k->position + (v->packed ? 2 : 1));
    if (*answer == CTRL_OK)
        return 0;
    return vs_nic_fail(nic, EOPNOTSUPP, "the device refuses command %u of class %u", cmd, class);
}

int vs_virtio_ctrl_rx_mode(struct vs_virtio_net *v, uint32_t mode)
{
    uint8_t promiscuous = (mode & VS_NIC_RX_PROMISC) != 0, allmulti = (mode & VS_NIC_RX_ALLMULTI) != 0;
    if (!vs_virtio_has(v, F_CTRL_RX))
        return vs_nic_fail(&v->nic, EOPNOTSUPP, "the device has no receive modes");
    int rc = command(v, CTRL_RX, CTRL_RX_PROMISC, &promiscuous, 1);
    int rc2 = command(v, CTRL_RX, CTRL_RX_ALLMULTI, &allmulti, 1);
    return rc < 0 ? rc : rc2;
}

int vs_virtio_ctrl_mac(struct vs_virtio_net *v, const uint8_t mac[6])
{
    if (vs_virtio_has(v, F_CTRL_MAC_ADDR))
        return command(v, CTRL_MAC, CTRL_MAC_ADDR_SET, mac, 6);
    /* The next best: an entry of the filter table (5.1.6.5.2), one unicast address and no multicast ones. */
    uint8_t table[14] = {1};
    memcpy(table + 4, mac, 6);
    return command(v, CTRL_MAC, CTRL_MAC_TABLE_SET, table, sizeof table);
}

/* RSS (5.1.6.5.7): an even table over the receive queues that are polled; pairs may be more, for transmit. */
static int rss(struct vs_virtio_net *v, uint16_t pairs)
{
    const struct vs_bar *bar = vs_virtio_bar(&v->nic, VIRTIO_DEVICE);
    uint64_t at = v->nic.env.virtio[VIRTIO_DEVICE].offset;
    uint16_t most = vs_mmio_read16(bar, at + NET_RSS_MAX_TABLE), table = 128;
    uint32_t types = vs_mmio_read32(bar, at + NET_RSS_TYPES) & RSS_TYPES_WANTED;
    uint8_t c[8 + 2 * 128 + 3 + sizeof vs_nic_rss_key];
    while (table > most && table > 1)
        table /= 2;
    const uint16_t head[4] = {(uint16_t)types, 0, (uint16_t)(table - 1), 0}; /* unclassified: queue 0 */
    memcpy(c, head, sizeof head);
    uint8_t *to = c + sizeof head;
    for (uint16_t i = 0; i < table; i++, to += 2) {
        uint16_t queue = i % v->nic.config.n_rxq;
        memcpy(to, &queue, 2);
    }
    memcpy(to, &pairs, 2);
    to[2] = sizeof vs_nic_rss_key;
    memcpy(to + 3, vs_nic_rss_key, sizeof vs_nic_rss_key);
    return command(v, CTRL_MQ, CTRL_MQ_RSS_CONFIG, c, (uint32_t)(to + 3 + sizeof vs_nic_rss_key - c));
}

int vs_virtio_ctrl_queues(struct vs_virtio_net *v)
{
    uint16_t pairs = VS_MAX(v->nic.config.n_rxq, v->nic.config.n_txq);
    if (vs_virtio_has(v, F_RSS))
        return rss(v, pairs);
    if (vs_virtio_has(v, F_MQ) && pairs > 1)
        return command(v, CTRL_MQ, CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
    return 0;
}
