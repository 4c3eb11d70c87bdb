/* offload.h: completing in software what a receiver cannot take: checksums and segmentation.
 *
 * How it works: a port that cannot pass on VS_CSUM_PARTIAL or a GSO packet calls vs_offload_finish in its tx: it
 * yields one or more complete frames, written into the caller's scratch buffers, each of at most `mss` payload.
 * Checksums follow RFC 1071; TCP segmentation sets sequence, flags (FIN, PSH on the last, CWR on the first), IPv4
 * id and total length per segment (VIRTIO 1.2, 5.1.6.2).
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_OFFLOAD_H
#define VS_OFFLOAD_H

#include "packet.h"

/* Called once per finished frame; returns 0 to go on. */
typedef int (*vs_offload_emit)(void *ctx, const uint8_t *frame, uint32_t len);

/* Finish the packet in software. scratch holds VS_MAX_FRAME bytes at least. Returns the number of frames emitted, or -1 when
 * the offload fields do not fit the packet (nothing emitted). */
int vs_offload_finish(const struct vs_packet *p, uint8_t *scratch, uint32_t scratch_len, vs_offload_emit emit,
                      void *ctx);
/* Check offload fields that came from outside against the frame (csum_start/offset inside the head, gso type fits, gso_size > 0).
 * 0 or -1. Call after rx filled the packet. */
int vs_offload_check(const struct vs_packet *p);
/* Internet checksum of len bytes, folded, not complemented; for tests and drivers. */
uint16_t vs_csum(const uint8_t *data, uint32_t len);

#endif
