/* virtio_start.c: bringing a virtio network device to work and back: reset, features, queues; see virtio_net.h. */
#include <errno.h>
#include <stdlib.h>

#include "virtio_net.h"

enum { RESET_MS = 1000, CTRL_DESC = 32, IDLE_DESC = 32 };

int vs_virtio_reset(struct vs_nic *nic)
{
    vs_virtio_set_status(nic, 0);
    for (unsigned i = 0; i < RESET_MS; i++) {
        uint8_t now = vs_virtio_status(nic);
        if (now == 0)
            return 0;
        if (now == STATUS_GONE)
            return vs_nic_fail(nic, ENODEV, "the device is gone: its registers read as ones");
        vs_nic_sleep_us(i < 10 ? 100 : 1000);
    }
    return vs_nic_fail(nic, ETIMEDOUT, "the device does not end its reset");
}

static uint64_t wanted(const struct vs_virtio_net *v)
{
    uint64_t f = VIRTIO_BIT(F_VERSION_1) | VIRTIO_BIT(F_ACCESS_PLATFORM) | VIRTIO_BIT(F_ORDER_PLATFORM) |
                 VIRTIO_BIT(F_RING_PACKED) | VIRTIO_BIT(F_MAC) | VIRTIO_BIT(F_STATUS) | VIRTIO_BIT(F_MTU) |
                 VIRTIO_BIT(F_SPEED_DUPLEX) | VIRTIO_BIT(F_MRG_RXBUF) | VIRTIO_BIT(F_CTRL_VQ) |
                 VIRTIO_BIT(F_CTRL_RX) | VIRTIO_BIT(F_CTRL_MAC_ADDR) | VIRTIO_BIT(F_MQ);
    uint32_t use = v->nic.use;
    if (use & VS_NIC_F_RSS)
        f |= VIRTIO_BIT(F_RSS);
    if (use & VS_NIC_F_TX_CSUM) {
        f |= VIRTIO_BIT(F_CSUM);
        f |= use & VS_NIC_F_TSO4 ? VIRTIO_BIT(F_HOST_TSO4) : 0;
        f |= use & VS_NIC_F_TSO6 ? VIRTIO_BIT(F_HOST_TSO6) : 0;
        f |= use & (VS_NIC_F_TSO4 | VS_NIC_F_TSO6) ? VIRTIO_BIT(F_HOST_ECN) : 0;
    }
    if (use & VS_NIC_F_RX_CSUM)
        f |= VIRTIO_BIT(F_GUEST_CSUM) | VIRTIO_BIT(F_GUEST_TSO4) | VIRTIO_BIT(F_GUEST_TSO6) |
             VIRTIO_BIT(F_GUEST_ECN) | VIRTIO_BIT(F_GUEST_USO4) | VIRTIO_BIT(F_GUEST_USO6);
    return f & v->offered;
}

/* 3.1.1 */
static int negotiate(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    v->features = wanted(v);
    if (!(v->features & VIRTIO_BIT(F_CSUM)))
        nic->use &= ~(uint32_t)(VS_NIC_F_TSO4 | VS_NIC_F_TSO6);
    vs_virtio_set_status(nic, STATUS_ACKNOWLEDGE);
    vs_virtio_set_status(nic, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
    for (uint32_t i = 0; i < 2; i++) {
        vs_virtio_set_common32(nic, COMMON_DRIVER_FEATURE_SELECT, i);
        vs_virtio_set_common32(nic, COMMON_DRIVER_FEATURE, (uint32_t)(v->features >> (32 * i)));
    }
    vs_virtio_set_status(nic, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
    if (!(vs_virtio_status(nic) & STATUS_FEATURES_OK))
        return vs_nic_fail(nic, EIO, "the device does not accept the features 0x%llx of those that it offers",
                           (unsigned long long)v->features);
    return 0;
}

static int set_vector(struct vs_nic *nic, uint32_t reg, uint16_t vector)
{
    vs_virtio_set_common16(nic, reg, vector);
    if (vector != VIRTIO_NO_VECTOR && vs_virtio_common16(nic, reg) != vector)
        return vs_nic_fail(nic, EIO, "the device does not take interrupt vector %u", vector);
    return 0;
}

/* One queue (4.1.5.1.3). Its doorbell's place comes back. */
static int set_queue(struct vs_virtio_net *v, uint16_t index, uint64_t iova, uint16_t size, uint16_t vector,
                     uint32_t *doorbell)
{
    struct vs_nic *nic = &v->nic;
    const struct vs_bar *bar = vs_virtio_bar(nic, VIRTIO_COMMON);
    const struct vs_nic_place *notify = &nic->env.virtio[VIRTIO_NOTIFY];
    vs_virtio_set_common16(nic, COMMON_QUEUE_SELECT, index);
    uint16_t most = vs_virtio_common16(nic, COMMON_QUEUE_SIZE);
    if (most < size)
        return vs_nic_fail(nic, EINVAL, "queue %u has room for %u descriptors, not %u", index, most, size);
    uint64_t at = (uint64_t)vs_virtio_common16(nic, COMMON_QUEUE_NOTIFY_OFF) * nic->env.notify_multiplier;
    if (at + 2 > notify->length || (notify->offset + at) % 2 != 0)
        return vs_nic_fail(nic, EIO, "the doorbell of queue %u lies outside of its structure", index);
    *doorbell = (uint32_t)(notify->offset + at);
    int rc = set_vector(nic, COMMON_QUEUE_VECTOR, vector);
    if (rc < 0)
        return rc;
    vs_virtio_set_common16(nic, COMMON_QUEUE_SIZE, size);
    uint64_t driver = 16 * (uint64_t)size, device = v->packed ? driver + 64 : 18 * (uint64_t)size + 64;
    vs_mmio_write64_halves(bar, vs_virtio_place(nic, VIRTIO_COMMON, COMMON_QUEUE_DESC), iova);
    vs_mmio_write64_halves(bar, vs_virtio_place(nic, VIRTIO_COMMON, COMMON_QUEUE_DRIVER), iova + driver);
    vs_mmio_write64_halves(bar, vs_virtio_place(nic, VIRTIO_COMMON, COMMON_QUEUE_DEVICE), iova + device);
    vs_virtio_set_common16(nic, COMMON_QUEUE_ENABLE, 1);
    return 0;
}

static uint16_t vector_of(const struct vs_nic *nic, uint16_t rxq)
{
    if (nic->config.n_vectors == 0 || nic->unmask_fd >= 0) /* none, or INTx */
        return VIRTIO_NO_VECTOR;
    return nic->config.n_vectors == 1 ? 0 : rxq;
}

static int set_rx_queue(struct vs_virtio_net *v, uint16_t i)
{
    struct vs_nic_rxq *q = &v->nic.rxq[i];
    q->size = vs_virtio_power_of_two(q->size);
    q->own[RXQ_WISHES] = vs_virtio_has(v, F_MRG_RXBUF) ? WISH_MERGEABLE : 0;
    q->own[RXQ_WISHES] |= vs_virtio_has(v, F_GUEST_CSUM) ? WISH_CSUM : 0;
    int rc = vs_virtio_rx_init(q);
    if (rc < 0)
        return rc;
    return set_queue(v, (uint16_t)(2 * i), q->ring_iova, q->size, vector_of(&v->nic, i), &q->doorbell);
}

static int set_tx_queue(struct vs_virtio_net *v, uint16_t i)
{
    struct vs_nic_txq *q = &v->nic.txq[i];
    q->size = vs_virtio_power_of_two(q->size);
    int rc = vs_virtio_tx_init(q);
    if (rc < 0)
        return rc;
    return set_queue(v, (uint16_t)(2 * i + 1), q->ring_iova, q->size, VIRTIO_NO_VECTOR, &q->doorbell);
}

/* Of a pair that is used one way only, the other queue exists as well and has nothing in it. */
static int set_queues(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    const struct vs_nic_config *c = &nic->config;
    uint32_t unused;
    uint16_t config_vector = VIRTIO_NO_VECTOR;
    if (c->n_vectors != 0 && nic->unmask_fd < 0)
        config_vector = (uint16_t)(c->n_vectors - 1);
    int rc = set_vector(nic, COMMON_CONFIG_VECTOR, config_vector);
    for (uint16_t i = 0; rc == 0 && i < VS_MAX(c->n_rxq, c->n_txq); i++) {
        uint64_t idle = nic->shared_iova + VIRTIO_IDLE_RING;
        rc = i < c->n_rxq ? set_rx_queue(v, i)
                          : set_queue(v, (uint16_t)(2 * i), idle, IDLE_DESC, VIRTIO_NO_VECTOR, &unused);
        if (rc == 0)
            rc = i < c->n_txq
                     ? set_tx_queue(v, i)
                     : set_queue(v, (uint16_t)(2 * i + 1), idle, IDLE_DESC, VIRTIO_NO_VECTOR, &unused);
    }
    v->ctrl = (struct vs_virtio_ctrl){.ring = nic->shared};
    if (rc < 0 || !vs_virtio_has(v, F_CTRL_VQ))
        return rc;
    uint16_t index =
        vs_virtio_has(v, F_MQ) || vs_virtio_has(v, F_RSS) ? (uint16_t)(2 * v->max_pairs) : 2; /* 5.1.2 */
    vs_virtio_set_common16(nic, COMMON_QUEUE_SELECT, index);
    uint16_t size =
        VS_MIN(vs_virtio_power_of_two(vs_virtio_common16(nic, COMMON_QUEUE_SIZE)), (uint16_t)CTRL_DESC);
    if (size < 2)
        return vs_nic_fail(nic, EIO, "the control queue has no room for a command");
    v->ctrl.index = index;
    v->ctrl.size = size;
    return set_queue(v, index, nic->shared_iova, size, VIRTIO_NO_VECTOR, &v->ctrl.doorbell);
}

/* What is asked of a device that runs. It may refuse modes and address, but must answer. */
static int set_modes(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    static const uint8_t none[6];
    const uint8_t *mac = nic->config.mac;
    int rc = vs_virtio_ctrl_queues(v);
    if (rc < 0)
        return rc;
    if (nic->info.features & VS_NIC_F_SET_MAC && memcmp(mac, none, 6) != 0 &&
        memcmp(mac, nic->info.mac, 6) != 0)
        rc = vs_virtio_ctrl_mac(v, mac);
    if (rc != -ETIMEDOUT && vs_virtio_has(v, F_CTRL_RX))
        rc = vs_virtio_ctrl_rx_mode(v, nic->config.rx_mode);
    return rc == -ETIMEDOUT ? rc : 0;
}

int vs_virtio_start(struct vs_nic *nic)
{
    struct vs_virtio_net *v = vs_virtio_of(nic);
    int rc = vs_virtio_reset(nic);
    if (rc == 0)
        rc = negotiate(v);
    if (rc < 0)
        return rc;
    /* Without RSS a device spreads over all pairs in use, and what came to a queue that nobody polls would be lost. */
    if (!vs_virtio_has(v, F_RSS))
        nic->config.n_txq = VS_MIN(nic->config.n_txq, nic->config.n_rxq);
    if (!vs_virtio_has(v, F_RSS) && !vs_virtio_has(v, F_MQ) && nic->config.n_rxq > 1)
        return vs_nic_fail(nic, EINVAL, "n_rxq %u: without MQ and RSS the device has one receive queue",
                           nic->config.n_rxq);
    rc = set_queues(v);
    if (rc < 0)
        return rc;
    vs_virtio_set_status(nic, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
    rc = set_modes(v);
    if (rc < 0)
        return rc;
    for (uint16_t i = 0; i < nic->config.n_rxq; i++)
        vs_virtio_notify(nic, nic->rxq[i].doorbell, (uint16_t)(2 * i));
    return 0;
}

void vs_virtio_stop(struct vs_nic *nic)
{
    struct vs_virtio_net *v = vs_virtio_of(nic);
    char why[VS_NIC_ERROR];
    memcpy(why, nic->error, sizeof why);
    if (vs_virtio_reset(nic) == 0)
        memcpy(nic->error, why, sizeof why); /* what start failed of is what counts */
    v->ctrl.size = 0;
    for (unsigned i = 0; i < VS_NIC_QUEUES; i++) {
        free(v->slots[i]);
        v->slots[i] = NULL;
    }
}
