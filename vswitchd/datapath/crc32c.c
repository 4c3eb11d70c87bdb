/* crc32c.c: see crc32c.h. Bit 31 of a word is the coefficient of x^0, bit 0 that of x^31. */
#include "crc32c.h"

enum {
    X8 = 1 << 23, /* x^8: one byte of zeros */
};

static uint32_t times_x(uint32_t a)
{
    return (a >> 1) ^ ((a & 1) != 0 ? 0x82f63b78u : 0);
}

static uint32_t multiply(uint32_t a, uint32_t b)
{
    uint32_t product = 0;
    for (unsigned bit = 32; bit-- > 0; b = times_x(b))
        if (a >> bit & 1)
            product ^= b;
    return product;
}

uint32_t vs_crc32c_change(const uint8_t *change, uint32_t n, uint32_t behind)
{
    uint32_t crc = 0;
    for (uint32_t i = 0; i < n; i++) {
        crc ^= change[i];
        for (unsigned bit = 0; bit < 8; bit++)
            crc = times_x(crc);
    }
    for (uint32_t power = X8; behind != 0; behind >>= 1, power = multiply(power, power))
        if (behind & 1)
            crc = multiply(crc, power);
    return crc;
}
