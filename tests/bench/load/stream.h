/* stream.h: a stream of numbered frames from one port to another: how a frame is written and how it is checked, word by word.
 *
 * How it works: a frame is looked at as 64-bit words of its body, which is the frame without a VLAN tag's four bytes, so that the IPv4
 * header begins at byte 14 either way:
 *
 *     word 0, 1   MAC addresses, type, 45 00       word 3   IP checksum, source, destination (first half)
 *     word 2      length, id, fragment, TTL, protocol     word 4   destination (second half), ports, UDP length (TCP: half of the flow)
 *     word 5      UDP: checksum (none), stream, flow. TCP: half of the flow, stream, 0, data offset and flags
 *     word 6, 7   sequence number, time stamp; behind the TCP header where there are offloads
 *
 * All that differs from frame to frame follows from the flow number, so sending writes five words over a frame that is there, and
 * receiving computes the words anew and compares. Behind these bytes a frame has a pattern that is checked for one frame in 64.
 * The first frame of a stream in a buffer is copied there whole (`load_stream_prepare`).
 *
 * Thread safety: as the owner of the generator's worker wants it: streams are made while it does not run, and written by it alone.
 */
#ifndef LOAD_STREAM_H
#define LOAD_STREAM_H

#include "histogram.h"
#include "ring.h"

enum load_vary { LOAD_DST_IP, LOAD_FIVE_TUPLE, LOAD_L2, LOAD_TUPLES };
enum load_dist { LOAD_UNIFORM, LOAD_RANDOM, LOAD_ZIPF };
enum load_check { LOAD_CHECK_FRAME, LOAD_CHECK_IP, LOAD_CHECK_PAYLOAD };
enum {
    LOAD_STREAMS = 1024,
    LOAD_MARK = 0xa000, /* in front of the stream's number: frames that others sent do not look like it */
    LOAD_WORDS = 6,
    LOAD_MIN_FRAME = 64,
    LOAD_MAX_FRAME = 65550,
    LOAD_ZIPF_LOG = 20,
    LOAD_PATTERN_EVERY = 64,
};

struct load_tuple { /* as they are sent */
    uint32_t src, dst;
    uint16_t sport, dport;
};

struct load_counts {
    uint64_t sent;
    uint64_t received;
    uint64_t expected; /* the sequence number that should come next */
    uint64_t out_of_order;
    uint64_t corrupt;
    uint64_t misdirected; /* came at another port */
};

struct load_frame { /* of a replay */
    const uint8_t *bytes;
    uint32_t length;
};

struct load_stream {
    uint64_t word[LOAD_WORDS]; /* what is the same in every frame, zero elsewhere */
    uint64_t mask[LOAD_WORDS]; /* what is checked */
    uint32_t number, in, size;
    int32_t out; /* -1: nowhere */
    uint32_t src, dst, base, flows, dports;
    uint16_t sport, dport;
    uint32_t sum;                        /* of the IPv4 header without what varies */
    uint32_t shift;                      /* 4 with a VLAN tag */
    uint32_t seq_at, tsc_at, pattern_at; /* in the body */
    uint8_t vary, dist, latency, tcp;
    uint32_t cursor;
    uint64_t random;
    const uint32_t *zipf;
    const struct load_tuple *tuples;
    struct load_counts counts;
    struct load_histogram *histogram; /* with `latency` */
    double pps;                       /* frames per tick; 0: as fast as the ring takes */
    uint64_t rate_from, rate_sent;
    uint64_t count;                  /* how many to send in all; UINT64_MAX: no end */
    const struct load_frame *replay; /* NULL: made frames */
    uint32_t replay_count;
    uint8_t header[LOAD_NET_HDR];
    uint8_t *frame; /* `size` bytes, flow 0 */
};

struct load_stream_spec {
    uint32_t in, size, flows, base, src, dst, dports;
    int32_t out;
    uint16_t vlan;
    uint16_t sport, dport;
    uint8_t vary, dist, check, tcp, latency, tso;
    bool has_vlan, has_smac, has_dmac;
    uint8_t smac[6], dmac[6];
    uint16_t mss;
    double zipf, pps;
    uint64_t count;
    struct load_tuple *tuples;
};

/* Make stream `number`; NULL and *why when it cannot be. */
struct load_stream *load_stream_new(uint32_t number, const struct load_stream_spec *spec, const char **why);
void load_stream_free(struct load_stream *s);
/* 2^20 flow numbers below `flows`, drawn with probability 1 / rank^exponent; the same table for the same arguments, kept for good. */
const uint32_t *load_zipf(uint32_t flows, double exponent);
/* Copy the whole frame into a buffer; frame is where LOAD_FRAME_AT is. */
void load_stream_prepare(const struct load_stream *s, uint8_t *buffer);
/* Is what lies behind the time stamp as it was sent? The body is as long as it was. */
bool load_stream_pattern_ok(const struct load_stream *s, const uint8_t *body);

static inline uint64_t load_get64(const uint8_t *at)
{
    uint64_t word;
    memcpy(&word, at, sizeof word);
    return word;
}

static inline void load_put64(uint8_t *at, uint64_t word)
{
    memcpy(at, &word, sizeof word);
}

/* The words 3 and 4 (and the addresses in 0 and 1 for LOAD_L2) of a flow; `vary` is a constant where it is inlined. */
static inline __attribute__((always_inline)) void load_stream_words(const struct load_stream *s, uint8_t vary,
                                                                    uint32_t flow, uint64_t w[LOAD_WORDS])
{
    uint32_t src = s->src, dst = s->dst, at = flow + s->base;
    uint16_t sport = s->sport, dport = s->dport;
    w[0] = s->word[0];
    w[1] = s->word[1];
    w[2] = s->word[2];
    if (vary == LOAD_DST_IP) {
        dst += at;
    } else if (vary == LOAD_FIVE_TUPLE) {
        src += at >> 10;
        dst += at & 1023;
        sport = (uint16_t)(1024 + ((at * 0x9e3779b1u) >> 17)); /* 15 bits of a hash */
        dport = (uint16_t)(dport + at % s->dports);
    }
    src = __builtin_bswap32(src);
    dst = __builtin_bswap32(dst);
    sport = __builtin_bswap16(sport);
    dport = __builtin_bswap16(dport);
    if (vary == LOAD_TUPLES) {
        src = s->tuples[flow].src;
        dst = s->tuples[flow].dst;
        sport = s->tuples[flow].sport;
        dport = s->tuples[flow].dport;
    } else if (vary == LOAD_L2) {
        uint64_t host = at & 0xffffff;
        w[0] |= host << 24;
        w[1] |= host << 8;
    }
    /* The sum of 16-bit words does not mind the byte order (RFC 1071). */
    uint32_t sum = s->sum + (src & 0xffff) + (src >> 16) + (dst & 0xffff) + (dst >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);
    w[3] = (uint64_t)(uint16_t)~sum | (uint64_t)src << 16 | (uint64_t)(dst & 0xffff) << 48;
    w[4] = s->word[4] | (uint64_t)(dst >> 16) | (uint64_t)sport << 16 | (uint64_t)dport << 32;
    w[5] = s->word[5];
    if (s->tcp) {
        w[4] |= (uint64_t)(flow & 0xffff) << 48;
        w[5] |= flow >> 16;
    } else {
        w[5] |= (uint64_t)flow << 32;
    }
}

/* Which flow is next; `dist` is a constant where it is inlined. */
static inline __attribute__((always_inline)) uint32_t load_stream_flow(struct load_stream *s, uint8_t dist)
{
    uint32_t at = s->cursor;
    if (dist == LOAD_ZIPF) {
        s->cursor = at + 1;
        return s->zipf[at & ((1u << LOAD_ZIPF_LOG) - 1)];
    }
    if (dist == LOAD_RANDOM) { /* xorshift64* */
        s->random ^= s->random >> 12;
        s->random ^= s->random << 25;
        s->random ^= s->random >> 27;
        return (uint32_t)(((s->random * 0x2545f4914f6cdd1dull) >> 32) * s->flows >> 32);
    }
    s->cursor = at + 1 == s->flows ? 0 : at + 1;
    return at;
}

/* Write frame number `seq` over the one in the buffer. */
static inline __attribute__((always_inline)) void load_stream_stamp(const struct load_stream *s, uint8_t vary,
                                                                    uint32_t flow, uint64_t seq, uint64_t tsc,
                                                                    uint8_t *body)
{
    uint64_t w[LOAD_WORDS];
    load_stream_words(s, vary, flow, w);
    if (vary == LOAD_L2) {
        load_put64(body, w[0]);
        load_put64(body + 8, w[1]);
    }
    load_put64(body + 24, w[3]);
    load_put64(body + 32, w[4]);
    load_put64(body + 40, w[5]);
    load_put64(body + s->seq_at, seq);
    if (s->latency)
        load_put64(body + s->tsc_at, tsc);
}

/* Is a frame what was sent? Its body's first 48 bytes are looked at. */
static inline __attribute__((always_inline)) bool load_stream_matches(const struct load_stream *s,
                                                                      uint32_t flow, const uint8_t *body)
{
    uint64_t w[LOAD_WORDS], wrong = 0;
    if (flow >= s->flows)
        return false;
    load_stream_words(s, s->vary, flow, w);
    for (unsigned i = 0; i < LOAD_WORDS; i++)
        wrong |= (w[i] ^ load_get64(body + 8 * i)) & s->mask[i];
    return wrong == 0;
}

/* Stream number and flow as a body says them; LOAD_STREAMS: not one of ours. */
static inline uint32_t load_body_stream(uint64_t word5)
{
    uint32_t mark = (uint32_t)(word5 >> 16) & 0xffff;
    return (mark & 0xfc00) == LOAD_MARK ? mark & 0x3ff : LOAD_STREAMS;
}

static inline uint32_t load_body_flow(const struct load_stream *s, uint64_t word4, uint64_t word5)
{
    return s->tcp ? (uint32_t)(word4 >> 48) | (uint32_t)(word5 & 0xffff) << 16 : (uint32_t)(word5 >> 32);
}

#endif
