/* nic.c: life of a NIC port and its queues, whatever the driver; see nic.h. */
#include "nic.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "datapath.h"
#include "qsbr.h"

static const struct vs_nic_driver *const drivers[] = {
    &vs_igb_driver, &vs_e1000e_driver, &vs_virtio_net_driver, &vs_vmxnet3_driver, &vs_ixgbe_driver,
};
enum { N_DRIVERS = sizeof drivers / sizeof drivers[0], RING_ALIGN = 4096 };

/* The two bytes 6d 5a over and over: with this key the hash of (a, b) is that of (b, a). */
const uint8_t vs_nic_rss_key[40] = {
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
    0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a, 0x6d, 0x5a,
};

/* ---- what drivers use ---------------------------------------------------------------------------------------------- */

int vs_nic_fail(struct vs_nic *nic, int code, const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(nic->error, sizeof nic->error, format, arguments);
    va_end(arguments);
    return -code;
}

void vs_nic_sleep_us(unsigned us)
{
    struct timespec t = {.tv_sec = us / 1000000, .tv_nsec = (long)(us % 1000000) * 1000};
    while (nanosleep(&t, &t) != 0 && errno == EINTR)
        ;
}

int vs_nic_wait(const struct vs_bar *bar, uint64_t reg, uint32_t mask, uint32_t value, unsigned ms)
{
    for (unsigned i = 0; i <= ms * 10; i++) {
        if ((vs_mmio_read32(bar, reg) & mask) == value)
            return 0;
        vs_nic_sleep_us(100);
    }
    return -ETIMEDOUT;
}

int vs_nic_need_bar(struct vs_nic *nic, unsigned i, uint64_t size)
{
    const struct vs_bar *b = &nic->env.bars[i];
    if (b->base == NULL)
        return vs_nic_fail(nic, ENODEV, "BAR %u of the device is missing or cannot be mapped", i);
    if (b->size < size)
        return vs_nic_fail(nic, EINVAL, "BAR %u of the device is too small: %llu bytes, driver %s needs %llu",
                           i, (unsigned long long)b->size, nic->driver->name, (unsigned long long)size);
    return 0;
}

/* ---- identity ------------------------------------------------------------------------------------------------------ */

int vs_nic_known(uint32_t i, uint32_t *vendor, uint32_t *device, const char **driver)
{
    for (unsigned d = 0; d < N_DRIVERS; d++)
        for (const struct vs_nic_id *id = drivers[d]->ids; id->vendor != 0; id++)
            if (i-- == 0) {
                *vendor = id->vendor;
                *device = id->device;
                *driver = drivers[d]->name;
                return 1;
            }
    return 0;
}

const char *vs_nic_driver_for(uint32_t vendor, uint32_t device)
{
    uint32_t v, d;
    const char *name;
    for (uint32_t i = 0; vs_nic_known(i, &v, &d, &name); i++)
        if (v == vendor && d == device)
            return name;
    return NULL;
}

/* ---- the port's functions ------------------------------------------------------------------------------------------ */

static bool runs(const struct vs_nic *nic)
{
    return atomic_load_explicit(&nic->running, memory_order_acquire) != 0; /* pairs with vs_nic_start */
}

static void port_rx_release(struct vs_port *port, unsigned rxq)
{
    struct vs_nic_rxq *q = &vs_nic_of(port)->rxq[rxq];
    for (unsigned i = 0; i < q->n_lent; i++)
        if (q->lent[i] != NULL)
            vs_dma_put(&q->list, q->lent[i]);
    q->n_lent = 0;
}

static int port_rx(struct vs_port *port, unsigned rxq, struct vs_packet **pkts, int n,
                   struct vs_port_counters *c)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (VS_UNLIKELY(!runs(nic) || rxq >= nic->config.n_rxq))
        return 0;
    int got = nic->driver->rx(&nic->rxq[rxq], pkts, n, c);
    if (VS_UNLIKELY(got == 0 && nic->rxq[rxq].n_lent != 0))
        port_rx_release(port, rxq); /* bad frames only: the core gives nothing back when it got nothing */
    return got;
}

static void port_tx(struct vs_port *port, unsigned core, struct vs_packet **pkts, int n,
                    struct vs_port_counters *c)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (VS_UNLIKELY(!runs(nic))) {
        vs_port_tx_drop(c, VS_DROP_TX_NOT_READY, (uint64_t)n);
        return;
    }
    if (VS_UNLIKELY(!atomic_load_explicit(&port->link_up, memory_order_relaxed))) {
        vs_port_tx_drop(c, VS_DROP_TX_LINK_DOWN, (uint64_t)n);
        return;
    }
    struct vs_nic_txq *q = &nic->txq[core % nic->config.n_txq];
    vs_spin_lock(&q->lock);
    nic->driver->tx(q, pkts, n, c);
    vs_spin_unlock(&q->lock);
}

static int port_arm(struct vs_port *port, unsigned rxq)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (!runs(nic) || rxq >= nic->config.n_rxq)
        return 0;
    struct vs_nic_rxq *q = &nic->rxq[rxq];
    if (nic->driver->irq_enable == NULL || q->fd < 0)
        return 1; /* nothing would wake the core */
    nic->driver->irq_enable(q, true);
    if (nic->unmask_fd >= 0) { /* INTx: the kernel masked it when it came */
        uint64_t one = 1;
        ssize_t done = write(nic->unmask_fd, &one, sizeof one);
        (void)done;
    }
    vs_dma_mb();
    return nic->driver->rx_pending(q);
}

static void port_disarm(struct vs_port *port, unsigned rxq, bool rang)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (!runs(nic) || rxq >= nic->config.n_rxq)
        return;
    struct vs_nic_rxq *q = &nic->rxq[rxq];
    if (nic->driver->irq_enable == NULL || q->fd < 0)
        return;
    nic->driver->irq_enable(q, false);
    uint64_t count;
    if (!rang)
        return;
    ssize_t done = read(q->fd, &count, sizeof count);
    (void)done; /* EAGAIN: it was something else that woke the core */
}

static void port_destroy(struct vs_port *port)
{
    vs_nic_stop(port);
    free(vs_nic_of(port));
}

static const struct vs_port_ops nic_ops = {.type = "vfio",
                                           .rx = port_rx,
                                           .rx_release = port_rx_release,
                                           .tx = port_tx,
                                           .rx_arm = port_arm,
                                           .rx_disarm = port_disarm,
                                           .destroy = port_destroy};

struct vs_port *vs_nic_new(const char *name)
{
    size_t size = sizeof(struct vs_nic);
    for (unsigned d = 0; d < N_DRIVERS; d++)
        size = VS_MAX(size, drivers[d]->size);
    size = (size + VS_CACHE_LINE - 1) / VS_CACHE_LINE * VS_CACHE_LINE;
    struct vs_nic *nic = aligned_alloc(VS_CACHE_LINE, size);
    if (nic == NULL)
        return NULL;
    memset(nic, 0, size);
    vs_port_init(&nic->port, &nic_ops, name, 1);
    nic->unmask_fd = -1;
    nic->own_bytes = size - sizeof *nic;
    return &nic->port;
}

int vs_nic_attach(struct vs_port *port, const char *driver, const struct vs_nic_env *env)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (runs(nic))
        return -EBUSY;
    for (unsigned d = 0; d < N_DRIVERS; d++) {
        if (strcmp(drivers[d]->name, driver) != 0)
            continue;
        memset(nic + 1, 0, nic->own_bytes); /* what another driver left */
        nic->driver = drivers[d];
        nic->env = *env;
        for (unsigned i = 0; i < VS_NIC_BARS; i++)
            nic->env.bars[i].index = i;
        return 0;
    }
    return -ENODEV;
}

/* ---- start and stop ------------------------------------------------------------------------------------------------ */

int vs_nic_probe(struct vs_port *port, struct vs_nic_info *info)
{
    struct vs_nic *nic = vs_nic_of(port);
    nic->error[0] = '\0';
    memset(&nic->info, 0, sizeof nic->info);
    int rc = nic->driver->probe(nic);
    struct vs_nic_info *i = &nic->info;
    if (rc == 0 && (i->max_rxq == 0 || i->max_txq == 0 || i->max_desc < i->min_desc || i->min_desc == 0))
        rc = vs_nic_fail(nic, EIO, "the device says of itself what cannot be");
    i->max_rxq = VS_MIN(i->max_rxq, (uint16_t)VS_NIC_QUEUES);
    i->max_txq = VS_MIN(i->max_txq, (uint16_t)VS_NIC_QUEUES);
    i->max_desc = VS_MIN(i->max_desc, (uint16_t)VS_NIC_MAX_DESC);
    i->desc_multiple = VS_MAX(i->desc_multiple, (uint16_t)1);
    *info = nic->info;
    return rc;
}

static uint64_t aligned(size_t n)
{
    return (n + RING_ALIGN - 1) / RING_ALIGN * RING_ALIGN;
}

uint64_t vs_nic_ring_bytes(const struct vs_port *port, const struct vs_nic_config *config)
{
    const struct vs_nic *nic = VS_CONTAINER_OF(port, struct vs_nic, port);
    const struct vs_nic_driver *d = nic->driver;
    return config->n_rxq * aligned(d->rx_ring_bytes(nic, config->rx_desc)) +
           config->n_txq * aligned(d->tx_ring_bytes(nic, config->tx_desc)) +
           (d->shared_bytes != NULL ? aligned(d->shared_bytes(nic)) : 0);
}

uint64_t vs_nic_n_buffers(const struct vs_nic_config *config)
{
    uint64_t rx = (uint64_t)config->rx_desc + VS_NIC_LENT + VS_DMA_LIST;
    uint64_t tx = (uint64_t)config->tx_desc + VS_NIC_FRAGS + VS_DMA_LIST;
    return config->n_rxq * rx + config->n_txq * tx;
}

static int check_config(struct vs_nic *nic, const struct vs_nic_config *c)
{
    const struct vs_nic_info *i = &nic->info;
    if (c->n_rxq < 1 || c->n_rxq > i->max_rxq)
        return vs_nic_fail(nic, EINVAL, "n_rxq %u: the device has %u receive queues", c->n_rxq, i->max_rxq);
    if (c->n_txq < 1 || c->n_txq > i->max_txq)
        return vs_nic_fail(nic, EINVAL, "%u transmit queues: the device has %u", c->n_txq, i->max_txq);
    const uint16_t desc[2] = {c->rx_desc, c->tx_desc};
    for (int k = 0; k < 2; k++)
        if (desc[k] < i->min_desc || desc[k] > i->max_desc || desc[k] % i->desc_multiple != 0)
            return vs_nic_fail(nic, EINVAL, "%s %u: the device takes %u to %u descriptors, a multiple of %u",
                               k == 0 ? "n_rxq_desc" : "n_txq_desc", desc[k], i->min_desc, i->max_desc,
                               i->desc_multiple);
    if (c->mtu < 68 || c->mtu > i->max_mtu)
        return vs_nic_fail(nic, EINVAL, "MTU %u: the device takes 68 to %u", c->mtu, i->max_mtu);
    if (c->n_vectors > 1 && c->n_vectors != c->n_rxq + 1)
        return vs_nic_fail(nic, EINVAL, "%u interrupt vectors for %u queues", c->n_vectors, c->n_rxq);
    return 0;
}

/* Where everything stands. */
static int lay_out(struct vs_nic *nic, uint8_t *at, const int *fds)
{
    const struct vs_nic_config *c = &nic->config;
    for (unsigned i = 0; i < c->n_rxq; i++) {
        struct vs_nic_rxq *q = &nic->rxq[i];
        memset(q, 0, sizeof *q);
        *q = (struct vs_nic_rxq){.nic = nic, .index = (uint16_t)i, .size = c->rx_desc, .ring = at, .fd = -1};
        q->buffer = VS_DMA_DATA;
        q->ring_iova = vs_dma_iova(at);
        q->bufs = calloc(c->rx_desc, sizeof(struct vs_dma_buf *));
        if (c->n_vectors != 0)
            q->fd = fds[c->n_vectors == 1 ? 0 : i];
        at += aligned(nic->driver->rx_ring_bytes(nic, c->rx_desc));
        if (q->bufs == NULL)
            return vs_nic_fail(nic, ENOMEM, "out of memory");
    }
    for (unsigned i = 0; i < c->n_txq; i++) {
        struct vs_nic_txq *q = &nic->txq[i];
        memset(q, 0, sizeof *q);
        *q = (struct vs_nic_txq){.nic = nic, .index = (uint16_t)i, .size = c->tx_desc, .ring = at};
        q->ring_iova = vs_dma_iova(at);
        /* One stays empty: a full ring must not look like an empty one. */
        q->free = (uint16_t)(c->tx_desc - 1);
        q->bufs = calloc(c->tx_desc, sizeof(struct vs_dma_buf *));
        at += aligned(nic->driver->tx_ring_bytes(nic, c->tx_desc));
        if (q->bufs == NULL)
            return vs_nic_fail(nic, ENOMEM, "out of memory");
    }
    nic->shared = at;
    nic->shared_iova = vs_dma_iova(at);
    nic->scratch = malloc((size_t)c->n_txq * VS_MAX_FRAME);
    return nic->scratch != NULL ? 0 : vs_nic_fail(nic, ENOMEM, "out of memory");
}

/* All buffers back to the pool, all memory of our own freed. The device does no DMA any more, no core is in here. */
static void take_back(struct vs_nic *nic)
{
    for (unsigned i = 0; i < VS_NIC_QUEUES; i++) {
        struct vs_nic_rxq *rx = &nic->rxq[i];
        struct vs_nic_txq *tx = &nic->txq[i];
        port_rx_release(&nic->port, i);
        for (unsigned k = 0; rx->bufs != NULL && k < rx->size; k++)
            if (rx->bufs[k] != NULL)
                vs_dma_put(&rx->list, rx->bufs[k]);
        for (unsigned k = 0; tx->bufs != NULL && k < tx->size; k++)
            if (tx->bufs[k] != NULL)
                vs_dma_put_chain(&tx->list, tx->bufs[k]);
        vs_dma_list_empty(&rx->list);
        vs_dma_list_empty(&tx->list);
        free(rx->bufs);
        free(tx->bufs);
        rx->bufs = NULL;
        tx->bufs = NULL;
        atomic_store_explicit(&nic->port.rx_fd[i], -1, memory_order_relaxed);
    }
    vs_watch_changed();
    free(nic->scratch);
    nic->scratch = NULL;
}

int vs_nic_start(struct vs_port *port, const struct vs_nic_config *config, uint64_t ring_offset,
                 const int *fds, int unmask_fd)
{
    struct vs_nic *nic = vs_nic_of(port);
    nic->error[0] = '\0';
    if (runs(nic))
        return vs_nic_fail(nic, EBUSY, "the port runs");
    int rc = check_config(nic, config);
    if (rc < 0)
        return rc;
    uint64_t bytes = vs_nic_ring_bytes(port, config);
    if (vs_dma.base == NULL || ring_offset > vs_dma.size || bytes > vs_dma.size - ring_offset)
        return vs_nic_fail(nic, EINVAL, "the rings do not lie in the DMA window");
    nic->config = *config;
    nic->use = nic->info.features & ~config->features_off;
    nic->max_frame = (uint32_t)config->mtu + 14 + 8;
    nic->unmask_fd = unmask_fd;
    memset(&nic->stats, 0, sizeof nic->stats);
    memset(vs_dma.base + ring_offset, 0, bytes);
    rc = lay_out(nic, vs_dma.base + ring_offset, fds);
    if (rc == 0)
        rc = nic->driver->start(nic);
    if (rc < 0) {
        nic->driver->stop(nic);
        take_back(nic);
        return rc;
    }
    for (unsigned i = 0; i < config->n_rxq; i++)
        atomic_store_explicit(&port->rx_fd[i], nic->rxq[i].fd, memory_order_relaxed);
    vs_watch_changed();
    __atomic_store_n(&port->n_rxq, config->n_rxq, __ATOMIC_RELAXED);
    atomic_store_explicit(&nic->running, 1, memory_order_release); /* pairs with runs */
    return 0;
}

void vs_nic_stop(struct vs_port *port)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (!runs(nic))
        return;
    atomic_store_explicit(&nic->running, 0, memory_order_relaxed);
    vs_synchronize(); /* no core is inside of rx, tx or sleep with this port any more */
    nic->driver->stats(nic, &nic->stats);
    nic->driver->stop(nic);
    take_back(nic);
    vs_port_set_link(port, 0);
}

void vs_nic_configured(const struct vs_port *port, struct vs_nic_config *config)
{
    *config = VS_CONTAINER_OF(port, struct vs_nic, port)->config;
}

int vs_nic_running(const struct vs_port *port)
{
    return runs(VS_CONTAINER_OF(port, struct vs_nic, port));
}

/* ---- what is asked of a running port ------------------------------------------------------------------------------- */

void vs_nic_link(struct vs_port *port, struct vs_nic_link *link)
{
    struct vs_nic *nic = vs_nic_of(port);
    memset(link, 0, sizeof *link);
    if (runs(nic))
        nic->driver->link(nic, link);
    vs_port_set_link(port, link->up != 0);
}

void vs_nic_read_stats(struct vs_port *port, struct vs_nic_stats *stats)
{
    struct vs_nic *nic = vs_nic_of(port);
    if (runs(nic))
        nic->driver->stats(nic, &nic->stats);
    *stats = nic->stats;
}

int vs_nic_set_rx_mode(struct vs_port *port, uint32_t mode)
{
    struct vs_nic *nic = vs_nic_of(port);
    nic->config.rx_mode = mode;
    return runs(nic) ? nic->driver->set_rx_mode(nic, mode) : 0;
}

int vs_nic_irq(struct vs_port *port)
{
    struct vs_nic *nic = vs_nic_of(port);
    return runs(nic) && nic->driver->irq != NULL ? nic->driver->irq(nic) : 0;
}

const char *vs_nic_error(const struct vs_port *port)
{
    return VS_CONTAINER_OF(port, struct vs_nic, port)->error;
}

const char *vs_nic_driver_name(const struct vs_port *port)
{
    const struct vs_nic_driver *driver = VS_CONTAINER_OF(port, struct vs_nic, port)->driver;
    return driver != NULL ? driver->name : "";
}
