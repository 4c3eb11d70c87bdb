/* vmxnet3.c: receiving and transmitting with VMware's vmxnet3; see vmxnet3.h. */
#include "vmxnet3.h"
#include "nic_rx.h"
#include "nic_tx.h"

enum {
    FRAME_GOOD = -1, /* else enum vs_drop */
    FRAME_NONE = -2,
    PREFETCH = 4, /* descriptors ahead */
    ETH_HLEN = 14,
};

static uint32_t load(const uint32_t *word)
{
    return __atomic_load_n(word, __ATOMIC_RELAXED); /* the device writes it */
}

/* ---- receive ------------------------------------------------------------------------------------------------------- */

/* Post the descriptors up to `index`, which becomes the one that is ours. Each has a buffer already. */
static void post_up_to(struct vmx_ring *ring, uint32_t index)
{
    while (ring->fill != index) {
        struct vmx_desc *d = &ring->desc[ring->fill];
        d->addr = ring->bufs[ring->fill]->iova + VS_DMA_HEADROOM;
        d->dword3 = 0;
        vs_dma_wmb();
        __atomic_store_n(&d->dword2, ring->flags, __ATOMIC_RELAXED); /* the device's from here on */
        if (++ring->fill == ring->size) {
            ring->fill = 0;
            ring->flags ^= VMX_RXD_GEN;
        }
    }
}

/* Completions of the next frame; 0: it is not all there. */
static unsigned frame_parts(const struct vmx_rx *r)
{
    uint32_t at = r->next, gen = r->gen;
    for (unsigned parts = 1;; parts++) {
        if ((load(&r->comp[at].dword[3]) & VMX_COMP_GEN) != gen)
            return 0;
        vs_dma_rmb();
        if (VS_LIKELY(load(&r->comp[at].dword[0]) & VMX_COMP_EOP) || parts == VMX_MAX_PARTS)
            return parts;
        if (++at == r->size) {
            at = 0;
            gen ^= VMX_COMP_GEN;
        }
    }
}

static struct vmx_comp take_completion(struct vmx_rx *r)
{
    const uint32_t *from = r->comp[r->next].dword;
    struct vmx_comp c = {{load(&from[0]), 0, load(&from[2]), load(&from[3])}};
    if (++r->next == r->size) {
        r->next = 0;
        r->gen ^= VMX_COMP_GEN;
    }
    return c;
}

/* One part of a frame goes to the packet, a fresh buffer to its place. False: what the completion says cannot be, or the packet is bad
 * already. A descriptor that is not believed stays as it is, and is posted again when the device goes on. */
static bool take_part(struct vs_nic_rxq *q, struct vmx_rx *r, const struct vmx_comp *c, struct vs_packet *p,
                      bool first)
{
    uint32_t id = c->dword[0] >> VMX_COMP_RQID & VMX_COMP_RQID_MASK, index = c->dword[0] & VMX_COMP_INDEX;
    uint32_t len = c->dword[2] & VMX_COMP_LEN;
    struct vmx_ring *ring = &r->ring[id != q->index];
    if (VS_UNLIKELY((id != q->index && id != q->index + (uint32_t)q->nic->config.n_rxq) ||
                    index >= ring->size || index == ring->fill || len > q->buffer))
        return false;
    post_up_to(ring, index);
    if (VS_UNLIKELY(len == 0))
        return true; /* the device passed over it: the buffer stays */
    uint32_t ahead = index + PREFETCH;
    VS_PREFETCH(vs_dma_data(ring->bufs[ahead < ring->size ? ahead : ahead - ring->size]));
    struct vs_dma_buf *b = vs_nic_rx_swap(q, (uint16_t)(ring->bufs - q->bufs + index));
    return first ? vs_nic_rx_first(q, p, b, VS_DMA_HEADROOM, len)
                 : vs_nic_rx_more(q, p, b, VS_DMA_HEADROOM, len);
}

/* Is the L4 checksum right? The last completion of a frame says so. */
static bool checksum_right(const struct vmx_comp *c)
{
    uint32_t flags = c->dword[3];
    return !(c->dword[0] & VMX_COMP_CNC) && (flags & VMX_COMP_TUC) && !(flags & VMX_COMP_FRAGMENT) &&
           (flags & (VMX_COMP_TCP | VMX_COMP_UDP)) &&
           ((flags & VMX_COMP_V6) || (flags & (VMX_COMP_V4 | VMX_COMP_IPC)) == (VMX_COMP_V4 | VMX_COMP_IPC));
}

/* Make a packet of the next completions. FRAME_GOOD, FRAME_NONE (there was nothing in them), or why it is dropped. */
static int take_frame(struct vs_nic_rxq *q, struct vmx_rx *r, struct vs_packet *p, unsigned parts)
{
    struct vmx_comp c = take_completion(r);
    bool good = (c.dword[0] & VMX_COMP_SOP) && take_part(q, r, &c, p, true);
    for (unsigned i = 1; VS_UNLIKELY(i < parts); i++) {
        c = take_completion(r);
        good = take_part(q, r, &c, p, false) && !(c.dword[0] & VMX_COMP_SOP) && good;
    }
    if (VS_UNLIKELY(!good || !(c.dword[0] & VMX_COMP_EOP)))
        return VS_DROP_RX_DEVICE;
    if (VS_UNLIKELY(c.dword[2] & VMX_COMP_ERR)) {
        /* It did not fit into as many buffers as a frame may take, or there were no more, or it came damaged. */
        uint32_t most = (q->nic->max_frame + q->buffer - 1) / q->buffer * q->buffer;
        return p->frame_len >= most ? VS_DROP_RX_OVERSIZE : VS_DROP_RX_DEVICE;
    }
    if (VS_UNLIKELY(p->frame_len < ETH_HLEN))
        return p->frame_len == 0 ? FRAME_NONE : VS_DROP_RX_RUNT;
    if (VS_UNLIKELY(parts > 1))
        vs_nic_rx_pull(p);
    if ((q->nic->use & VS_NIC_F_RX_CSUM) && checksum_right(&c))
        p->csum = VS_CSUM_VALID;
    return FRAME_GOOD;
}

/* The device asked to be told where we post (it goes by generations otherwise). */
static void tell_posted(struct vs_nic_rxq *q, const struct vmx_rx *r)
{
    const struct vs_bar *bar = &q->nic->env.bars[0];
    vs_mmio_write32(bar, VMX_RXPROD + (uint64_t)VMX_STEP * q->index, r->ring[0].fill);
    vs_mmio_write32(bar, VMX_RXPROD2 + (uint64_t)VMX_STEP * q->index, r->ring[1].fill);
}

int vs_vmxnet3_rx(struct vs_nic_rxq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    struct vmx_rx *r = &vs_vmxnet3_of(q->nic)->rx[q->index];
    uint64_t bytes = 0;
    int used = 0;
    /* Bad frames and empty completions leave the packet for the next one: a second bound for them. */
    for (int turns = 2 * n; used < n && turns > 0 && q->n_lent < VS_NIC_LENT - VS_MAX_SEGS; turns--) {
        unsigned parts = frame_parts(r);
        if (parts == 0)
            break;
        if (VS_UNLIKELY(q->list.n < parts) && (!vs_dma_list_fill(&q->list) || q->list.n < parts))
            break; /* all of a frame or nothing */
        struct vs_packet *p = pkts[used];
        int verdict = take_frame(q, r, p, parts);
        if (VS_LIKELY(verdict == FRAME_GOOD)) {
            bytes += p->frame_len;
            used++;
        } else if (verdict != FRAME_NONE) {
            vs_nic_rx_bad(p, &q->nic->port, (enum vs_drop)verdict, c);
        }
    }
    if (VS_UNLIKELY(__atomic_load_n(&vs_vmxnet3_rxq(q->nic, q->index)->update_prod, __ATOMIC_RELAXED)))
        tell_posted(q, r);
    vs_port_rx_count(c, (uint64_t)used, bytes);
    return used;
}

int vs_vmxnet3_rx_pending(struct vs_nic_rxq *q)
{
    const struct vmx_rx *r = &vs_vmxnet3_of(q->nic)->rx[q->index];
    return (load(&r->comp[r->next].dword[3]) & VMX_COMP_GEN) == r->gen;
}

void vs_vmxnet3_irq_enable(struct vs_nic_rxq *q, bool on)
{
    const struct vs_nic *nic = q->nic;
    unsigned vector = nic->config.n_vectors > 1 ? q->index : 0;
    if (nic->unmask_fd >= 0)
        (void)vs_mmio_read32(&nic->env.bars[1], VMX_ICR); /* lowers the line */
    vs_mmio_write32(&nic->env.bars[0], VMX_IMR + (uint64_t)VMX_STEP * vector, on ? 0 : 1);
}

/* ---- transmit ------------------------------------------------------------------------------------------------------ */

/* Can the device finish this packet? It is asked for TCP and UDP right behind IPv4 or IPv6 and at most one tag: QEMU looks for the headers
 * itself instead of going by the offsets, does not know more, and would send anything else as it is. */
bool vs_vmxnet3_able(const struct vs_nic *nic, const struct vs_packet *p)
{
    uint32_t l3 = ETH_HLEN, start = p->csum_start;
    if (start < ETH_HLEN + 20 || start + 8 > p->head_len || start > VMX_TXD_MAX_HLEN)
        return false;
    uint16_t type = vs_get_be16(p->data + 12);
    if (type == 0x8100) {
        type = vs_get_be16(p->data + 16);
        l3 += 4;
    }
    const uint8_t *ip = p->data + l3;
    uint8_t proto = type == 0x0800 ? ip[9] : ip[6];
    uint32_t l4 = type == 0x0800 ? l3 + (ip[0] & 15) * 4u : l3 + 40;
    if ((type != 0x0800 && type != 0x86dd) || start != l4 || (proto != 6 && proto != 17))
        return false;
    if (p->gso_type == VS_GSO_NONE)
        return true;
    uint32_t head = vs_offload_header_len(p);
    return head != 0 && head <= VMX_TXD_MAX_HLEN && p->gso_size <= VMX_TXD_MAX_MSSCOF &&
           p->frame_len - ETH_HLEN <= 65535;
}

/* Offload mode, header length (dword3) and MSS or place of the checksum (dword2). */
static void put_offload(const struct vs_nic_frame *f, const struct vs_packet *p, uint32_t *dword2,
                        uint32_t *dword3)
{
    uint32_t start = p->csum_start, field = start + p->csum_offset;
    if (p->gso_type == VS_GSO_NONE) {
        *dword2 = field << VMX_TXD_MSSCOF;
        *dword3 = start | VMX_TXD_OM_CSUM;
        return;
    }
    *dword2 = (uint32_t)p->gso_size << VMX_TXD_MSSCOF;
    *dword3 = (start + (p->data[start + 12] >> 4) * 4u) | VMX_TXD_OM_TSO;
    /* The device adds each segment's length to the sum of the pseudo header, and wants no checksum in IPv4's header. The head stands in the
     * first piece: p->data is read, that is written. */
    uint8_t *head = vs_nic_frame_bytes(f, 0);
    uint32_t sum = vs_get_be16(p->data + field) + (uint32_t)(uint16_t)~(p->frame_len - start);
    sum = (sum & 0xffff) + (sum >> 16);
    vs_put_be16(head + field, (uint16_t)sum);
    if ((p->gso_type & ~VS_GSO_ECN) == VS_GSO_TCPV4)
        vs_put_be16(head + (vs_get_be16(p->data + 12) == 0x8100 ? ETH_HLEN + 4 : ETH_HLEN) + 10, 0);
}

static void put(struct vs_nic_txq *q, const struct vs_nic_frame *f, const struct vs_packet *p)
{
    struct vmx_tx *t = &vs_vmxnet3_of(q->nic)->tx[q->index];
    struct vmx_desc *first = &t->desc[q->next], *d = first;
    uint32_t dword2 = 0, dword3 = 0, first_dword2 = 0;
    uint16_t at = q->next, last = at, n = 0;
    if (p != NULL && VS_UNLIKELY(p->csum == VS_CSUM_PARTIAL))
        put_offload(f, p, &dword2, &dword3);
    for (uint32_t i = 0; i < f->n; i++) {
        uint64_t iova = f->frag[i].iova;
        for (uint32_t left = f->frag[i].len; left > 0;) {
            uint32_t part = VS_MIN(left, (uint32_t)VMX_MAX_TX_BUFFER);
            d = &t->desc[at];
            d->addr = iova;
            d->dword3 = dword3;
            dword2 |= (part & VMX_TXD_LEN) | t->gen;
            if (n++ == 0)
                first_dword2 = dword2; /* until then its generation is that of the lap before */
            else
                d->dword2 = dword2;
            dword2 = dword3 = 0;
            iova += part;
            left -= part;
            last = at;
            if (++at == q->size) {
                at = 0;
                t->gen ^= VMX_TXD_GEN;
            }
        }
    }
    if (VS_UNLIKELY(n == 0)) { /* a frame of no bytes */
        vs_dma_put_chain(&q->list, f->owner);
        return;
    }
    d->dword3 |= VMX_TXD_EOP | VMX_TXD_CQ;
    q->bufs[last] = f->owner;
    q->next = at;
    q->free = (uint16_t)(q->free - n);
    vs_dma_wmb();
    __atomic_store_n(&first->dword2, first_dword2, __ATOMIC_RELAXED); /* all of it is the device's */
}

static void clean(struct vs_nic_txq *q)
{
    struct vmx_tx *t = &vs_vmxnet3_of(q->nic)->tx[q->index];
    for (unsigned turns = q->size; turns > 0; turns--) {
        const struct vmx_comp *c = &t->comp[t->comp_next];
        if ((load(&c->dword[3]) & VMX_COMP_GEN) != t->comp_gen)
            return;
        vs_dma_rmb();
        uint32_t index = load(&c->dword[0]) & VMX_COMP_INDEX; /* of the frame's last descriptor */
        if (++t->comp_next == q->size) {
            t->comp_next = 0;
            t->comp_gen ^= VMX_COMP_GEN;
        }
        uint32_t in_use = q->size - 1u - q->free;
        uint32_t done = (index >= q->clean ? index - q->clean : index + q->size - q->clean) + 1;
        if (VS_UNLIKELY(index >= q->size || done > in_use))
            continue; /* none that it has */
        q->free = (uint16_t)(q->free + done);
        for (; done > 0; done--) {
            vs_nic_tx_done(q, q->clean);
            if (++q->clean == q->size)
                q->clean = 0;
        }
    }
}

static void kick(struct vs_nic_txq *q)
{
    vs_mmio_write32(&q->nic->env.bars[0], VMX_TXPROD + (uint64_t)VMX_STEP * q->index, q->next);
}

void vs_vmxnet3_tx(struct vs_nic_txq *q, struct vs_packet **pkts, int n, struct vs_port_counters *c)
{
    vs_nic_transmit(q, pkts, n, c, put, clean, kick);
}
