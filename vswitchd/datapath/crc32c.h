/* crc32c.h: how a CRC32c changes when bytes of what it covers change, without reading the rest.
 *
 * How it works: a CRC is linear: CRC(a) xor CRC(b) depends on a xor b only. That is zero but for the bytes that changed, and zeros
 * behind them multiply by a power of x modulo the polynomial, which takes a step for each bit of their number.
 * CRC32c is that of SCTP (RFC 9260, 6.8 and appendix A): reflected, polynomial 0x1edc6f41.
 *
 * Thread safety: plain functions.
 */
#ifndef VS_CRC32C_H
#define VS_CRC32C_H

#include "base.h"

/* What is to be XORed to the CRC when the `n` bytes of `change` are XORed to the message and `behind` bytes follow them. */
uint32_t vs_crc32c_change(const uint8_t *change, uint32_t n, uint32_t behind);

#endif
