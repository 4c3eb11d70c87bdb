/* stream.c: making streams; see stream.h. */
#include <math.h>
#include <stdlib.h>

#include "stream.h"

enum {
    ETHERTYPE_VLAN = 0x8100,
    TCP = 6,
    UDP = 17,
    IP_LEN = 20,
    UDP_LEN = 8,
    TCP_LEN = 20,
    IP_AT = 14,
    L4_AT = 34
};

static void put16(uint8_t *at, uint32_t value)
{
    at[0] = (uint8_t)(value >> 8);
    at[1] = (uint8_t)value;
}

static uint16_t get_raw16(const uint8_t *at)
{
    uint16_t raw;
    memcpy(&raw, at, sizeof raw);
    return raw;
}

static void put_macs(uint8_t *frame, const struct load_stream_spec *spec)
{
    uint32_t sink = spec->out < 0 ? spec->in : (uint32_t)spec->out;
    uint8_t kind = spec->vary == LOAD_L2 ? 1 : 0;
    uint8_t dst[6] = {2, kind, (uint8_t)sink, 0, 0, 0}, src[6] = {2, kind, (uint8_t)spec->in, 0, 0, 0};
    if (spec->vary != LOAD_L2) { /* 02:00:00:00 and the port's number from 1 on */
        dst[2] = src[2] = 0;
        put16(dst + 4, sink + 1);
        put16(src + 4, spec->in + 1);
    }
    memcpy(frame, spec->has_dmac ? spec->dmac : dst, 6);
    memcpy(frame + 6, spec->has_smac ? spec->smac : src, 6);
}

/* What is the same in all frames; what varies is zero, but for the ports and addresses, which stamping writes. */
static void build_frame(struct load_stream *s, const struct load_stream_spec *spec)
{
    uint8_t *frame = s->frame, *body = frame + s->shift;
    uint32_t ip_bytes = s->size - s->shift - IP_AT;
    for (uint32_t i = 0; i < s->size; i++)
        frame[i] = (uint8_t)(i * 7 + (i >> 8) + 1);
    memset(frame, 0, s->shift + s->pattern_at);
    put_macs(frame, spec);
    if (s->shift != 0) {
        put16(frame + 12, ETHERTYPE_VLAN);
        put16(frame + 14, spec->vlan);
    }
    put16(body + 12, 0x0800);
    body[14] = 0x45;
    put16(body + 16, ip_bytes);
    body[22] = 64;
    body[23] = s->tcp ? TCP : UDP;
    if (!s->tcp)
        put16(body + L4_AT + 4, ip_bytes - IP_LEN);
    uint16_t mark = (uint16_t)(LOAD_MARK | s->number);
    memcpy(body + 42, &mark, sizeof mark);
    if (s->tcp) {
        body[46] = TCP_LEN / 4 << 4;
        body[47] = 0x10; /* ACK */
    }
    s->sum = 0;
    for (unsigned i = 0; i < IP_LEN; i += 2)
        s->sum += get_raw16(body + IP_AT + i);
    for (unsigned i = 0; i < LOAD_WORDS; i++)
        s->word[i] = load_get64(body + 8 * i);
    if (spec->tso) { /* section 5.1.6.2: the checksum field holds the sum of the pseudo header, which nobody looks at here */
        uint16_t fields[] = {(uint16_t)(s->shift + L4_AT + TCP_LEN), spec->mss, (uint16_t)(s->shift + L4_AT),
                             16};
        s->header[0] = 1; /* NEEDS_CSUM */
        s->header[1] = 1; /* GSO_TCPV4 */
        memcpy(s->header + 2, fields, sizeof fields);
    }
}

static void choose_mask(struct load_stream *s, uint8_t check)
{
    memset(s->mask, 0xff, sizeof s->mask);
    if (check == LOAD_CHECK_FRAME)
        return;
    s->mask[0] = 0;
    s->mask[1] = 0x00ffffff00000000ull;            /* the type and 45: the TOS may be marked */
    s->mask[2] = ~(0xffull << 48);                 /* TTL */
    s->mask[3] = ~0xffffull;                       /* header checksum */
    s->mask[5] = s->tcp ? s->mask[5] : ~0xffffull; /* a switch may fill in the UDP checksum */
    if (check == LOAD_CHECK_PAYLOAD) {
        s->mask[3] = 0;
        s->mask[4] = 0xffffull << 48;
    }
}

static const char *refusal(const struct load_stream_spec *spec)
{
    uint32_t least = (uint32_t)LOAD_MIN_FRAME + (spec->has_vlan ? 4 : 0) + (spec->tso ? 8 : 0);
    if (spec->size < least || spec->size > LOAD_MAX_FRAME)
        return "size must be 64 (68 with a VLAN tag, 72 with tso) to 65550";
    if (spec->flows == 0)
        return "flows must be at least 1";
    if (spec->vary == LOAD_L2 && (spec->has_vlan || spec->flows > 1u << 24))
        return "vary=l2 takes no vlan and at most 16777216 flows";
    if (spec->tso && !spec->tcp)
        return "tso needs proto=tcp";
    return NULL;
}

struct load_stream *load_stream_new(uint32_t number, const struct load_stream_spec *spec, const char **why)
{
    *why = refusal(spec);
    struct load_stream *s = *why == NULL ? calloc(1, sizeof *s) : NULL;
    if (s == NULL)
        return NULL;
    *s = (struct load_stream){.number = number,
                              .in = spec->in,
                              .out = spec->out,
                              .size = spec->size,
                              .src = spec->src,
                              .dst = spec->dst,
                              .base = spec->base,
                              .flows = spec->flows,
                              .dports = spec->dports,
                              .sport = spec->sport,
                              .dport = spec->dport,
                              .vary = spec->vary,
                              .dist = spec->dist,
                              .latency = spec->latency,
                              .tcp = spec->tcp,
                              .shift = spec->has_vlan ? 4 : 0,
                              .seq_at = spec->tso ? 56 : 48,
                              .tsc_at = spec->tso ? 64 : 56,
                              .pattern_at = spec->tso ? 72 : 64,
                              .random = 0x9e3779b97f4a7c15ull * (number + 1),
                              .tuples = spec->tuples,
                              .pps = spec->pps,
                              .count = spec->count == 0 ? UINT64_MAX : spec->count};
    s->frame = malloc(s->size);
    s->histogram = calloc(1, sizeof *s->histogram);
    s->zipf = spec->dist == LOAD_ZIPF ? load_zipf(spec->flows, spec->zipf) : NULL;
    if (s->frame == NULL || s->histogram == NULL || (spec->dist == LOAD_ZIPF && s->zipf == NULL)) {
        *why = "no memory";
        load_stream_free(s);
        return NULL;
    }
    s->cursor = spec->dist == LOAD_ZIPF ? number * 77777 : 0;
    build_frame(s, spec);
    choose_mask(s, spec->check);
    return s;
}

void load_stream_free(struct load_stream *s)
{
    if (s == NULL)
        return;
    for (uint32_t i = 0; i < s->replay_count; i++)
        free((void *)(uintptr_t)s->replay[i].bytes);
    free((void *)(uintptr_t)s->replay);
    free((void *)(uintptr_t)s->tuples);
    free(s->frame);
    free(s->histogram);
    free(s);
}

void load_stream_prepare(const struct load_stream *s, uint8_t *buffer)
{
    uint8_t *frame = buffer + LOAD_FRAME_AT - s->shift;
    memcpy(frame - LOAD_NET_HDR, s->header, LOAD_NET_HDR);
    memcpy(frame, s->frame, s->size);
}

bool load_stream_pattern_ok(const struct load_stream *s, const uint8_t *body)
{
    return memcmp(body + s->pattern_at, s->frame + s->shift + s->pattern_at,
                  s->size - s->shift - s->pattern_at) == 0;
}

static double *cumulated(uint32_t flows, double exponent)
{
    double *sums = malloc(flows * sizeof *sums), sum = 0;
    for (uint32_t i = 0; sums != NULL && i < flows; i++)
        sums[i] = sum += pow(1.0 / (i + 1.0), exponent);
    return sums;
}

const uint32_t *load_zipf(uint32_t flows, double exponent)
{
    static struct {
        uint32_t flows;
        double exponent;
        uint32_t *table;
    } kept[16];
    unsigned at = 0;
    while (at < 16 && kept[at].table != NULL && (kept[at].flows != flows || kept[at].exponent != exponent))
        at++;
    if (at == 16 || kept[at].table != NULL)
        return at == 16 ? NULL : kept[at].table;
    double *sums = cumulated(flows, exponent);
    uint32_t *table = malloc(sizeof *table << LOAD_ZIPF_LOG);
    uint64_t random = 88172645463325252ull;
    for (uint32_t i = 0; sums != NULL && table != NULL && i < 1u << LOAD_ZIPF_LOG; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        double wanted = (double)(random >> 11) * 0x1p-53 * sums[flows - 1];
        uint32_t low = 0, high = flows - 1;
        while (low < high) {
            uint32_t mid = low + (high - low) / 2;
            if (sums[mid] < wanted)
                low = mid + 1;
            else
                high = mid;
        }
        table[i] = low;
    }
    if (sums == NULL) {
        free(table);
        table = NULL;
    }
    free(sums);
    kept[at].flows = flows;
    kept[at].exponent = exponent;
    kept[at].table = table;
    return table;
}
