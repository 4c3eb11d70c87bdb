/* iotlb.c: translations behind a vIOMMU; see iotlb.h. */
#include "iotlb.h"

#include <errno.h>

uint8_t *vs_iotlb_translate(struct vs_iotlb *t, uint32_t *hint, vs_iova a, uint32_t perm, uint32_t *len)
{
    (void)t;
    (void)hint;
    (void)a;
    (void)perm;
    (void)len;
    return NULL;
}

uint8_t *vs_iotlb_range(struct vs_iotlb *t, vs_iova a, uint32_t perm, uint64_t len, int *error)
{
    (void)t;
    (void)a;
    (void)perm;
    (void)len;
    *error = -EAGAIN;
    return NULL;
}

struct vs_iotlb *vs_iotlb_new(void)
{
    return NULL;
}

void vs_iotlb_free(struct vs_iotlb *t)
{
    (void)t;
}

int vs_iotlb_fd(struct vs_iotlb *t)
{
    (void)t;
    return -1;
}

int vs_iotlb_update(struct vs_iotlb *t, const struct vs_guest_mem *mem, uint64_t iova, uint64_t size,
                    uint64_t uva, uint32_t perm)
{
    (void)t;
    (void)mem;
    (void)iova;
    (void)size;
    (void)uva;
    (void)perm;
    return -ENOMEM;
}

void vs_iotlb_invalidate(struct vs_iotlb *t, uint64_t iova, uint64_t size)
{
    (void)t;
    (void)iova;
    (void)size;
}

unsigned vs_iotlb_collect(struct vs_iotlb *t, struct vs_iotlb_miss *to, unsigned n)
{
    (void)t;
    (void)to;
    (void)n;
    return 0;
}

void vs_iotlb_stats_read(struct vs_iotlb *t, struct vs_iotlb_stats *to)
{
    (void)t;
    memset(to, 0, sizeof *to);
}

unsigned vs_iotlb_retry(struct vs_iotlb *t)
{
    (void)t;
    return 0;
}

void vs_iotlb_clear(struct vs_iotlb *t)
{
    (void)t;
}
