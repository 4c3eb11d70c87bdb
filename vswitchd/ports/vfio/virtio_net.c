/* virtio_net.c: driver of virtio network devices over PCI (VIRTIO 1.2, 4.1 and 5.1): what the device is, its link, the vtable; see virtio_net.h.
 *
 * How it works: modern devices only, and only such that are behind the IOMMU like any other (VIRTIO_F_ACCESS_PLATFORM): without that feature a device
 * takes our addresses for physical ones and writes over memory that is not ours. VLAN filters stay off (CTRL_VLAN is not negotiated: all tags come).
 */
#include "virtio_net.h"

#include <errno.h>
#include <sys/random.h>

static const struct vs_nic_id ids[] = {{0x1af4, 0x1041}, {0x1af4, 0x1000}, {0, 0}};

enum { MAX_MTU = 65535 };

/* ---- probe --------------------------------------------------------------------------------------------------------- */

static int need_places(struct vs_nic *nic)
{
    const struct vs_nic_place *p = nic->env.virtio;
    if (!p[VIRTIO_COMMON].present || !p[VIRTIO_NOTIFY].present || !p[VIRTIO_ISR].present)
        return vs_nic_fail(
            nic, ENODEV, "a legacy virtio device without the modern interface; with QEMU: disable-legacy=on");
    for (unsigned i = VIRTIO_COMMON; i <= VIRTIO_DEVICE; i++) {
        uint64_t least = i == VIRTIO_COMMON ? COMMON_LENGTH : 1;
        if (!p[i].present)
            continue;
        if (p[i].bar >= VS_NIC_BARS || p[i].offset > UINT32_MAX || p[i].length > UINT32_MAX ||
            p[i].length < least)
            return vs_nic_fail(nic, EINVAL, "a virtio structure of BAR %u is where none can be", p[i].bar);
        int rc = vs_nic_need_bar(nic, p[i].bar, p[i].offset + p[i].length);
        if (rc < 0)
            return rc;
    }
    return 0;
}

static uint64_t read_features(struct vs_nic *nic)
{
    uint64_t all = 0;
    for (uint32_t i = 0; i < 2; i++) {
        vs_virtio_set_common32(nic, COMMON_DEVICE_FEATURE_SELECT, i);
        all |= (uint64_t)vs_virtio_common32(nic, COMMON_DEVICE_FEATURE) << (32 * i);
    }
    return all;
}

/* Features that need others are not there without them (5.1.3.1). */
static uint64_t sensible(uint64_t f, bool has_config)
{
    if (!has_config)
        f &= ~(VIRTIO_BIT(F_MAC) | VIRTIO_BIT(F_STATUS) | VIRTIO_BIT(F_MTU) | VIRTIO_BIT(F_MQ) |
               VIRTIO_BIT(F_RSS) | VIRTIO_BIT(F_SPEED_DUPLEX));
    if (!(f & VIRTIO_BIT(F_CTRL_VQ)))
        f &= ~(VIRTIO_BIT(F_CTRL_RX) | VIRTIO_BIT(F_MQ) | VIRTIO_BIT(F_RSS) | VIRTIO_BIT(F_CTRL_MAC_ADDR));
    if (!(f & VIRTIO_BIT(F_CSUM)))
        f &= ~(VIRTIO_BIT(F_HOST_TSO4) | VIRTIO_BIT(F_HOST_TSO6));
    if (!(f & (VIRTIO_BIT(F_HOST_TSO4) | VIRTIO_BIT(F_HOST_TSO6))))
        f &= ~VIRTIO_BIT(F_HOST_ECN);
    /* Without merged buffers a frame to be segmented would need one of 64 KB (5.1.6.3.1). */
    if (!(f & VIRTIO_BIT(F_GUEST_CSUM)) || !(f & VIRTIO_BIT(F_MRG_RXBUF)))
        f &= ~(VIRTIO_BIT(F_GUEST_TSO4) | VIRTIO_BIT(F_GUEST_TSO6) | VIRTIO_BIT(F_GUEST_USO4) |
               VIRTIO_BIT(F_GUEST_USO6));
    if (!(f & (VIRTIO_BIT(F_GUEST_TSO4) | VIRTIO_BIT(F_GUEST_TSO6))))
        f &= ~VIRTIO_BIT(F_GUEST_ECN);
    return f;
}

static void read_mac(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    uint8_t *mac = nic->info.mac;
    if (v->offered & VIRTIO_BIT(F_MAC)) {
        for (uint32_t i = 0; i < 6; i++)
            mac[i] = vs_mmio_read8(vs_virtio_bar(nic, VIRTIO_DEVICE),
                                   vs_virtio_place(nic, VIRTIO_DEVICE, NET_MAC + i));
        return;
    }
    /* 5.1.5: the driver chooses a random one, locally administered. */
    if (getrandom(mac, 6, 0) != 6)
        memset(mac, 0, 6);
    mac[0] = (uint8_t)((mac[0] & 0xfc) | 2);
}

/* What stands in the device structure, while the device does not change it (4.1.4.3: config_generation). */
static void read_config(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    const struct vs_bar *bar = vs_virtio_bar(nic, VIRTIO_COMMON);
    for (unsigned tries = 0; tries < 10; tries++) {
        uint8_t before = vs_mmio_read8(bar, vs_virtio_place(nic, VIRTIO_COMMON, COMMON_GENERATION));
        read_mac(v);
        v->max_pairs = 1;
        if (v->offered & (VIRTIO_BIT(F_MQ) | VIRTIO_BIT(F_RSS)))
            v->max_pairs = vs_virtio_net16(nic, NET_MAX_PAIRS);
        nic->info.max_mtu = MAX_MTU;
        if (v->offered & VIRTIO_BIT(F_MTU))
            nic->info.max_mtu = vs_virtio_net16(nic, NET_MTU);
        if (vs_mmio_read8(bar, vs_virtio_place(nic, VIRTIO_COMMON, COMMON_GENERATION)) == before)
            break;
    }
    uint16_t single = VS_DMA_DATA - 14 - 8; /* header apart, frame and two tags in one buffer */
    if (!(v->offered & VIRTIO_BIT(F_MRG_RXBUF)))
        nic->info.max_mtu = VS_MIN(nic->info.max_mtu, single);
    if (v->offered & VIRTIO_BIT(F_RSS)) {
        const struct vs_bar *device = vs_virtio_bar(nic, VIRTIO_DEVICE);
        if (vs_mmio_read8(device, vs_virtio_place(nic, VIRTIO_DEVICE, NET_RSS_MAX_KEY)) <
                sizeof vs_nic_rss_key ||
            vs_virtio_net16(nic, NET_RSS_MAX_TABLE) == 0)
            v->offered &= ~VIRTIO_BIT(F_RSS);
    }
}

static uint32_t info_features(uint64_t f)
{
    static const struct {
        uint8_t virtio;
        uint32_t ours;
    } rows[] = {
        {F_CSUM, VS_NIC_F_TX_CSUM},    {F_HOST_TSO4, VS_NIC_F_TSO4},
        {F_HOST_TSO6, VS_NIC_F_TSO6},  {F_GUEST_CSUM, VS_NIC_F_RX_CSUM},
        {F_RSS, VS_NIC_F_RSS},         {F_CTRL_RX, VS_NIC_F_PROMISC | VS_NIC_F_ALLMULTI | VS_NIC_F_SET_MAC},
        {F_STATUS, VS_NIC_F_LINK_IRQ}, {F_CTRL_MAC_ADDR, VS_NIC_F_SET_MAC},
    };
    uint32_t all = 0;
    for (unsigned i = 0; i < sizeof rows / sizeof rows[0]; i++)
        if (f & VIRTIO_BIT(rows[i].virtio))
            all |= rows[i].ours;
    return all;
}

static int probe_queues(struct vs_virtio_net *v)
{
    struct vs_nic *nic = &v->nic;
    uint16_t n = vs_virtio_common16(nic, COMMON_NUM_QUEUES), size[2];
    for (uint16_t i = 0; i < 2; i++) {
        vs_virtio_set_common16(nic, COMMON_QUEUE_SELECT, i);
        size[i] = vs_virtio_power_of_two(vs_virtio_common16(nic, COMMON_QUEUE_SIZE));
    }
    if (n < 2 || v->max_pairs < 1 || v->max_pairs >= 0x8000)
        return vs_nic_fail(nic, EIO, "the device says that it has %u queues in %u pairs", n, v->max_pairs);
    if (size[0] < VIRTIO_MIN_DESC || size[1] < VIRTIO_MIN_DESC)
        return vs_nic_fail(nic, EIO, "rings of %u and %u descriptors: at least %u are needed", size[0],
                           size[1], VIRTIO_MIN_DESC);
    struct vs_nic_info *info = &nic->info;
    /* COMMON_NUM_QUEUES does not bound it: in QEMU that is what the features of the driver before us made of it. */
    info->max_rxq = info->max_txq = v->max_pairs;
    info->min_desc = info->desc_multiple = VIRTIO_MIN_DESC;
    info->max_desc = VS_MIN(size[0], size[1]);
    info->features = info_features(v->offered);
    return 0;
}

static int probe(struct vs_nic *nic)
{
    struct vs_virtio_net *v = vs_virtio_of(nic);
    int rc = need_places(nic);
    if (rc == 0)
        rc = vs_virtio_reset(nic);
    if (rc < 0)
        return rc;
    vs_virtio_set_status(nic, STATUS_ACKNOWLEDGE);
    v->offered = sensible(read_features(nic), nic->env.virtio[VIRTIO_DEVICE].present);
    if (!(v->offered & VIRTIO_BIT(F_VERSION_1)))
        return vs_nic_fail(nic, ENODEV,
                           "the device does not offer VIRTIO_F_VERSION_1; with QEMU: disable-legacy=on");
    if (!(v->offered & VIRTIO_BIT(F_ACCESS_PLATFORM)))
        return vs_nic_fail(nic, ENODEV,
                           "the device goes past the IOMMU (no VIRTIO_F_ACCESS_PLATFORM); with QEMU: "
                           "iommu_platform=on");
    v->packed = (v->offered & VIRTIO_BIT(F_RING_PACKED)) != 0;
    read_config(v);
    return probe_queues(v);
}

/* ---- what is asked of a running device ----------------------------------------------------------------------------- */

static bool is_up(struct vs_virtio_net *v)
{
    uint8_t now = vs_virtio_status(&v->nic);
    if (now == STATUS_GONE || now & STATUS_NEEDS_RESET)
        return false;
    return !vs_virtio_has(v, F_STATUS) || (vs_virtio_net16(&v->nic, NET_STATUS) & NET_S_LINK_UP);
}

static void link_state(struct vs_nic *nic, struct vs_nic_link *link)
{
    struct vs_virtio_net *v = vs_virtio_of(nic);
    const struct vs_bar *bar = vs_virtio_bar(nic, VIRTIO_DEVICE);
    v->seen_up = is_up(v);
    link->up = v->seen_up;
    link->full_duplex = 1;
    if (!v->seen_up || !vs_virtio_has(v, F_SPEED_DUPLEX))
        return;
    uint32_t speed = vs_mmio_read32(bar, vs_virtio_place(nic, VIRTIO_DEVICE, NET_SPEED));
    uint8_t duplex = vs_mmio_read8(bar, vs_virtio_place(nic, VIRTIO_DEVICE, NET_DUPLEX));
    link->speed_mbps = speed <= INT32_MAX ? speed : 0; /* 5.1.4: anything else is unknown */
    link->full_duplex = duplex != 0;
}

static int irq(struct vs_nic *nic)
{
    struct vs_virtio_net *v = vs_virtio_of(nic);
    int what = 0;
    uint8_t now = vs_virtio_status(nic);
    bool dead = now == STATUS_GONE || (now & STATUS_NEEDS_RESET);
    for (unsigned i = 0; i < nic->config.n_rxq; i++)
        dead |= __atomic_load_n(&nic->rxq[i].own[RXQ_BROKEN], __ATOMIC_RELAXED) != 0;
    for (unsigned i = 0; i < nic->config.n_txq; i++)
        dead |= __atomic_load_n(&nic->txq[i].own[TXQ_BROKEN], __ATOMIC_RELAXED) != 0;
    if (is_up(v) != v->seen_up)
        what |= VS_NIC_IRQ_LINK;
    return dead ? what | VS_NIC_IRQ_DEAD : what;
}

static void stats(struct vs_nic *nic, struct vs_nic_stats *s)
{
    (void)nic; /* the device counts nothing that we could read */
    (void)s;
}

static int set_rx_mode(struct vs_nic *nic, uint32_t mode)
{
    return vs_virtio_ctrl_rx_mode(vs_virtio_of(nic), mode);
}

static size_t ring_bytes(const struct vs_nic *nic, uint16_t desc)
{
    return vs_virtio_ring_bytes(desc);
}

static size_t shared_bytes(const struct vs_nic *nic)
{
    return VIRTIO_SHARED;
}

static int rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    return vs_virtio_of(q->nic)->packed ? vs_virtio_rx_packed(q, pkts, n, c)
                                        : vs_virtio_rx_split(q, pkts, n, c);
}

static void tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    if (vs_virtio_of(q->nic)->packed)
        vs_virtio_tx_packed(q, pkts, n, c);
    else
        vs_virtio_tx_split(q, pkts, n, c);
}

/* Segmentation with ECN is a feature of its own, HOST_ECN (5.1.6.2). */
static bool able(const struct vs_nic *nic, const struct vs_packet *p)
{
    return !(p->gso_type & VS_GSO_ECN) || vs_virtio_has((const struct vs_virtio_net *)nic, F_HOST_ECN);
}

const struct vs_nic_driver vs_virtio_net_driver = {
    .name = "virtio_net",
    .ids = ids,
    .size = sizeof(struct vs_virtio_net),
    .probe = probe,
    .rx_ring_bytes = ring_bytes,
    .tx_ring_bytes = ring_bytes,
    .shared_bytes = shared_bytes,
    .start = vs_virtio_start,
    .stop = vs_virtio_stop,
    .rx = rx,
    .tx = tx,
    .able = able,
    .rx_pending = vs_virtio_rx_pending,
    .irq_enable = vs_virtio_irq_enable,
    .irq = irq,
    .link = link_state,
    .stats = stats,
    .set_rx_mode = set_rx_mode,
};
