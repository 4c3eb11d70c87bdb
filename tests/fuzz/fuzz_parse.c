/* fuzz_parse.c: any bytes through the parser and through edits of what it found.
 *
 * With clang: `clang -fsanitize=fuzzer,address,undefined -Ivswitchd/datapath tests/fuzz/fuzz_parse.c
 * vswitchd/datapath/{parse,edit,edit_fields,edit_key,edit_layers,edit_mpls,crc32c,offload,flow_hash,flow_key,packet}.c`. With -DVS_REPLAY it has a main of its own, which replays the files
 * named on the command line, each also cut short at every length and with random bytes changed (tests/fuzz/test_fuzz_parse.py).
 * What must hold: no byte outside the frame is read, offsets are inside the head, an edit does not change the length of the
 * frame unless it pushes or pops, and a refused edit changes nothing.
 */
#include <stdio.h>
#include <stdlib.h>

#include "edit.h"
#include "flow_hash.h"
#include "parse.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(int ok, const char *what)
{
    if (!ok) {
        fprintf(stderr, "fuzz_parse: %s\n", what);
        abort();
    }
}

static void check_offsets(const struct vs_packet *p)
{
    require(p->l3_ofs == VS_L_NONE || (p->l3_ofs >= 14 && p->l3_ofs <= p->head_len),
            "l3_ofs outside the head");
    require(p->l4_ofs == VS_L_NONE ||
                (p->l3_ofs != VS_L_NONE && p->l4_ofs > p->l3_ofs && p->l4_ofs < p->head_len),
            "l4_ofs outside the head");
}

/* What is pushed in any order and popped in reverse leaves the frame as it was. */
static void check_pushes(const uint8_t *data, size_t size)
{
    static struct vs_packet p;
    struct vs_key key;
    uint8_t dirty = 6;
    uint32_t len = (uint32_t)VS_MIN(size, (size_t)1000);
    uint8_t after[1000];
    if (len < 14)
        return;
    vs_packet_reset(&p, NULL);
    p.in_port = 1;
    vs_packet_fill(&p, data, len);
    vs_parse(&p, 0, &key, &dirty);
    static const struct vs_action push[] = {{.type = VS_ACT_PUSH_MPLS, .arg = 0x8847},
                                            {.type = VS_ACT_PUSH_PBB, .arg = 0x88e7},
                                            {.type = VS_ACT_PUSH_VLAN, .arg = 0x88a8}};
    struct vs_action pop[] = {{.type = VS_ACT_POP_MPLS, .arg = vs_get_be16(data + 12)},
                              {.type = VS_ACT_POP_PBB},
                              {.type = VS_ACT_POP_VLAN}};
    unsigned first = data[len - 1] % 3;
    for (unsigned i = 0; i < 3; i++) {
        unsigned at = (first + i) % 3;
        if (at == 0)
            pop[0].arg = vs_get_be16(p.data + 12);
        require(vs_edit_apply(&p, &push[at]) == 0, "no room to push");
        check_offsets(&p);
    }
    for (unsigned i = 3; i-- > 0;)
        require(vs_edit_apply(&p, &pop[(first + i) % 3]) == 0, "what was pushed cannot be popped");
    check_offsets(&p);
    require(vs_packet_copy_out(&p, after, sizeof after) == len && memcmp(after, data, len) == 0,
            "the frame is not the one it was");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct vs_packet p;
    struct vs_key key;
    uint8_t dirty = 6;
    uint8_t *exact = malloc(size + (size == 0)); /* so that the sanitizer sees the first byte too far */
    memcpy(exact, data, size);
    vs_packet_reset(&p, NULL);
    p.data = exact;
    p.in_port = 1;
    p.frame_len = (uint32_t)size;
    p.head_len = (uint16_t)VS_MIN(size, (size_t)VS_HEAD_COPY);
    vs_parse(&p, 0, &key, &dirty);
    check_offsets(&p);
    (void)vs_flow_hash(&p);
    const uint8_t ones[16] = {255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255, 255};
    const uint8_t value[16] = {0x12, 0x34, 0x56, 0x78, 0x9a, 0xbc, 0xde, 0xf0, 1, 2, 3, 4, 5, 6, 7, 8};
    uint8_t *before = malloc(size + 1);
    for (int f = 0; f < VS_N_FIELDS; f++) {
        memcpy(before, exact, size);
        if (vs_edit_set_field(&p, (enum vs_field)f, value, ones) != 0)
            require(memcmp(before, exact, size) == 0, "a refused edit changed the packet");
    }
    static const uint16_t ttls[] = {VS_ACT_DEC_TTL, VS_ACT_DEC_MPLS_TTL, VS_ACT_COPY_TTL_OUT,
                                    VS_ACT_COPY_TTL_IN, VS_ACT_SET_MPLS_TTL};
    for (unsigned i = 0; i < sizeof ttls / sizeof ttls[0]; i++) {
        memcpy(before, exact, size);
        if (vs_edit_apply(&p, &(struct vs_action){.type = ttls[i], .arg = 3}) != 0)
            require(memcmp(before, exact, size) == 0, "a refused edit changed the packet");
    }
    vs_edit_set_ttl(&p, 9);
    while (p.n_tags > 0)
        require(vs_edit_pop_vlan(&p) == 0, "a tag that was parsed cannot be popped");
    check_offsets(&p);
    check_pushes(exact, size);
    for (int i = 0; i < 8; i++) { /* whatever is uncovered */
        uint16_t type = i % 3 == 0 ? VS_ACT_POP_PBB : VS_ACT_POP_MPLS, next = i % 2 ? 0x8847 : 0x86dd;
        (void)vs_edit_apply(&p, &(struct vs_action){.type = type, .arg = next});
        check_offsets(&p);
        (void)vs_flow_hash(&p);
    }
    free(before);
    free(exact);
    return 0;
}

#ifdef VS_REPLAY
static uint32_t next(uint32_t *state)
{
    *state ^= *state << 13; /* xorshift32 */
    *state ^= *state >> 17;
    return *state ^= *state << 5;
}

int main(int argc, char **argv)
{
    uint32_t state = 1;
    for (int i = 1; i < argc; i++) {
        static uint8_t bytes[4096], changed[4096];
        FILE *f = fopen(argv[i], "rb");
        require(f != NULL, argv[i]);
        size_t n = fread(bytes, 1, sizeof bytes, f);
        fclose(f);
        for (size_t cut = 0; cut <= n; cut++)
            LLVMFuzzerTestOneInput(bytes, cut);
        for (int round = 0; round < 2000 && n > 12; round++) {
            memcpy(changed, bytes, n);
            for (uint32_t k = next(&state) % 4; k < 4; k++)
                changed[12 + next(&state) % (n - 12)] = (uint8_t)next(&state);
            LLVMFuzzerTestOneInput(changed, n - next(&state) % 8 % n);
        }
    }
    printf("%d files\n", argc - 1);
    return 0;
}
#endif
