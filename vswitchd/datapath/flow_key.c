/* flow_key.c: the table of fields; see flow_key.h. */
#include "flow_key.h"

static const struct vs_field_info fields[VS_N_FIELDS] = {
#define VS_FIELD_ROW(fname, member, fshift, fbits)                                                           \
    [VS_F_##fname] = {.name = #fname,                                                                        \
                      .offset = offsetof(struct vs_key, member),                                             \
                      .size = sizeof(((struct vs_key *)0)->member),                                          \
                      .shift = (fshift),                                                                     \
                      .bits = (fbits)},
    VS_KEY_FIELDS(VS_FIELD_ROW)
#undef VS_FIELD_ROW
};

const struct vs_field_info *vs_field_info(int field)
{
    return field >= 0 && field < VS_N_FIELDS ? &fields[field] : NULL;
}

uint32_t vs_key_word_map(const struct vs_key *mask)
{
    const uint64_t *w = vs_key_cwords(mask);
    uint32_t map = 0;
    for (unsigned i = 0; i < VS_KEY_WORDS; i++)
        if (w[i] != 0)
            map |= 1u << i;
    return map;
}
