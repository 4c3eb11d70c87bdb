/* offload.h: completing in software what a receiver cannot take, checksums and segmentation; and what offload fields are believed.
 *
 * How it works: a port that cannot pass on VS_CSUM_PARTIAL or a GSO packet calls vs_offload_finish in its tx: it
 * yields one or more complete frames, written into the caller's scratch buffers, each of at most `mss` payload.
 * Checksums follow RFC 1071; TCP segmentation sets sequence, flags (FIN, PSH on the last, CWR on the first), IPv4
 * id and total length per segment (VIRTIO 1.2, 5.1.6.2).
 * Fields that came from outside are checked on receive, against the head alone, which is our copy: a checksum must belong to the
 * place where its protocol has it, so that completing it cannot change what the flow table matched; a packet to be segmented
 * must have the headers of its type. Whatever edits do keeps both true, so a passed packet needs no second look at its bytes.
 *
 * Thread safety: works on its arguments only.
 */
#ifndef VS_OFFLOAD_H
#define VS_OFFLOAD_H

#include "packet.h"

/* Called once per finished frame; returns 0 to go on. */
typedef int (*vs_offload_emit)(void *ctx, const uint8_t *frame, uint32_t len);

/* Finish the packet in software. scratch holds VS_MAX_FRAME bytes at least. Returns the number of frames emitted, or -1 when
 * the offload fields do not fit the packet (nothing emitted). Segments: at most 1,366 of TCP, 128 of UDP. */
int vs_offload_finish(const struct vs_packet *p, uint8_t *scratch, uint32_t scratch_len, vs_offload_emit emit,
                      void *ctx);
/* Check offload fields that came from outside against the head: checksum field and headers in it and in their places, gso type of
 * the frame's protocol, gso_size within bounds. 0 or -1. Call after rx filled the packet. */
int vs_offload_check(const struct vs_packet *p);
/* Bytes of headers, TCP's or UDP's included, of a packet to be segmented. 0 when the fields do not fit, or there is nothing to do. */
uint32_t vs_offload_header_len(const struct vs_packet *p);
/* Bytes of the longest frame on the wire: of the packet, or of one segment of it. */
uint32_t vs_offload_wire_len(const struct vs_packet *p);
/* Frames on the wire, and the bytes of all of them. */
uint32_t vs_offload_wire_frames(const struct vs_packet *p, uint64_t *bytes);
/* Internet checksum of len bytes, folded, not complemented; for tests and drivers. */
uint16_t vs_csum(const uint8_t *data, uint32_t len);

#endif
