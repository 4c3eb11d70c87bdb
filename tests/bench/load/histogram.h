/* histogram.h: how often each duration was seen, in buckets of a logarithmic scale.
 *
 * How it works: a value below 32 has a bucket of its own; above, each power of two is cut into 32 buckets, so a quantile is right to 1/32
 * (3 %). Adding is a shift and an increment. Values are in any unit, ticks of the time stamp counter here.
 *
 * Thread safety: one writer; whoever reads copies the whole while the writer stands still.
 */
#ifndef LOAD_HISTOGRAM_H
#define LOAD_HISTOGRAM_H

#include <stdint.h>

enum { LOAD_SUB_LOG = 5, LOAD_SUB = 1 << LOAD_SUB_LOG, LOAD_BUCKETS = (64 - LOAD_SUB_LOG + 1) * LOAD_SUB };

struct load_histogram {
    uint64_t samples;
    uint64_t sum;
    uint64_t max;
    uint64_t bucket[LOAD_BUCKETS];
};

static inline unsigned load_bucket(uint64_t value)
{
    if (value < LOAD_SUB)
        return (unsigned)value;
    unsigned log = 63u - (unsigned)__builtin_clzll(value);
    return (log - LOAD_SUB_LOG + 1) * LOAD_SUB + ((unsigned)(value >> (log - LOAD_SUB_LOG)) & (LOAD_SUB - 1));
}

/* The middle of the values that fall into a bucket. */
static inline double load_bucket_value(unsigned bucket)
{
    if (bucket < LOAD_SUB)
        return bucket;
    unsigned shift = bucket / LOAD_SUB - 1;
    uint64_t low = (uint64_t)(LOAD_SUB + bucket % LOAD_SUB) << shift;
    return (double)low + (double)((uint64_t)1 << shift) / 2;
}

static inline void load_histogram_add(struct load_histogram *h, uint64_t value)
{
    h->samples++;
    h->sum += value;
    h->max = value > h->max ? value : h->max;
    h->bucket[load_bucket(value)]++;
}

/* The smallest bucket's value that at least `share` of the samples do not exceed; never more than the largest sample; 0 when there are none. */
static inline double load_histogram_quantile(const struct load_histogram *h, double share)
{
    double wanted = share * (double)h->samples;
    uint64_t seen = 0;
    for (unsigned i = 0; i < LOAD_BUCKETS; i++) {
        seen += h->bucket[i];
        if (seen != 0 && (double)seen >= wanted) {
            double value = load_bucket_value(i);
            return value < (double)h->max ? value : (double)h->max;
        }
    }
    return (double)h->max;
}

#endif
