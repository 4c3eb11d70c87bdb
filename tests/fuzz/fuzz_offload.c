/* fuzz_offload.c: any offload header over any frame.
 *
 * The input is a header as a driver writes it (10 bytes), and a frame. With clang: `clang -fsanitize=fuzzer,address,undefined
 * -Ivswitchd/datapath -Ivswitchd/ports/vhostuser tests/fuzz/fuzz_offload.c vswitchd/datapath/{packet,offload,parse,flow_key}.c`.
 * With -DVS_REPLAY it has a main of its own: it replays the files named on the command line, and for each a number of
 * mutations (VS_ROUNDS, default 20000) with a fixed seed.
 * What must hold: no byte outside the frame is touched; what is refused yields nothing, what is taken at least one frame and no more than
 * the bound; frames are not longer than the packet on the wire says; and whatever is completed or cut, the flow table would
 * have seen the same: the key of each frame is the key of the packet, but for the TCP flags that segmentation clears.
 */
#include <stdio.h>
#include <stdlib.h>

#include "offload.h"
#include "parse.h"
#include "vhost_header.h"

enum { INPUT_MAX = 4096, MAX_FRAMES = 1366, FIN_PSH_CWR = 0x89 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_offload: %s\n", what);
        abort();
    }
}

struct seen {
    struct vs_key key;
    uint32_t longest;
    int frames;
    bool cut;
};

static void key_of(const uint8_t *frame, uint32_t len, bool cut, struct vs_key *key)
{
    uint16_t ofs[3];
    vs_parse_frame(frame, len, 1, key, ofs);
    if (cut)
        key->tcp_flags[1] &= (uint8_t)~FIN_PSH_CWR;
}

static int look(void *ctx, const uint8_t *frame, uint32_t len)
{
    struct seen *s = ctx;
    struct vs_key key;
    require(len >= 14 && len <= s->longest, "a frame longer than the packet says");
    uint8_t *exact = malloc(len); /* so that the sanitizer sees every byte too far */
    memcpy(exact, frame, len);
    key_of(exact, len, s->cut, &key);
    free(exact);
    require(memcmp(&key, &s->key, sizeof key) == 0, "completed into another flow");
    s->frames++;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct vs_packet packet;
    static uint8_t scratch[VS_MAX_FRAME];
    struct vs_packet *p = &packet;
    struct vs_net_hdr h;
    if (size < 10 + 14 || size > INPUT_MAX)
        return 0;
    h = vs_net_hdr_complete(vs_net_hdr_load(data), data);
    uint32_t len = (uint32_t)size - 10;
    uint8_t *frame = malloc(len);
    memcpy(frame, data + 10, len);
    vs_packet_reset(p, NULL);
    vs_packet_fill(p, frame, len);
    p->csum = h.flags & VS_NET_HDR_NEEDS_CSUM ? VS_CSUM_PARTIAL : VS_CSUM_NONE;
    p->csum_start = h.csum_start;
    p->csum_offset = h.csum_offset;
    p->gso_type = h.gso_type;
    p->gso_size = h.gso_size;
    struct seen s = {.longest = vs_offload_wire_len(p), .cut = h.gso_type != VS_GSO_NONE};
    key_of(frame, len, s.cut, &s.key);
    int good = vs_offload_check(p), n = vs_offload_finish(p, scratch, sizeof scratch, look, &s);
    require((good == 0) == (n > 0) && n <= MAX_FRAMES && s.frames == VS_MAX(n, 0),
            "not refused, but nothing made");
    require(good == 0 || s.frames == 0, "refused, but made");
    free(frame);
    return 0;
}

#ifdef VS_REPLAY
static uint64_t seed = 0x9e3779b97f4a7c15;

static uint32_t draw(uint32_t below)
{
    seed = seed * 6364136223846793005 + 1442695040888963407;
    return (uint32_t)(seed >> 33) % below;
}

/* Change a few fields, mostly of the headers, to values that are on some edge. */
static size_t mutate(uint8_t *data, size_t size)
{
    static const uint16_t edges[] = {0,    1,      2,      4,      6,      14,     16,     18,
                                     34,   40,     47,     48,     54,     62,     74,     0x45,
                                     0x60, 0x0800, 0x8100, 0x88a8, 0x86dd, 0x0608, 0x1106, 0xffff};
    for (uint32_t k = 1 + draw(4); k > 0; k--) {
        uint32_t within = draw(4) == 0 ? (uint32_t)size : VS_MIN((uint32_t)size, 100u), at = draw(within - 1);
        uint16_t value = draw(3) == 0 ? (uint16_t)draw(65536) : edges[draw(sizeof edges / sizeof *edges)];
        if (draw(2) == 0)
            value = __builtin_bswap16(value);
        if (draw(3) == 0)
            data[at] = (uint8_t)value;
        else
            memcpy(data + at, &value, 2);
    }
    return draw(8) == 0 ? 24 + draw((uint32_t)size - 23) : size;
}

int main(int argc, char **argv)
{
    static uint8_t data[INPUT_MAX], changed[INPUT_MAX];
    const char *text = getenv("VS_ROUNDS");
    long rounds = text == NULL ? 20000 : atol(text);
    for (int i = 1; i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        require(file != NULL, "cannot open a file of the corpus");
        size_t size = fread(data, 1, sizeof data, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, size);
        for (long k = 0; k < rounds && size > 24; k++) {
            memcpy(changed, data, size);
            LLVMFuzzerTestOneInput(changed, mutate(changed, size));
        }
    }
    printf("%d files\n", argc - 1);
    return 0;
}
#endif
